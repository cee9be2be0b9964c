// What an indexing kernel reports when the data are bad. Kernels stop at the first fault; what was
// written before stays.
#pragma once

#include <cstdint>

namespace colonnade::kernels {

struct IndexFault {
  int64_t position = -1;  // Flat position in the index tensor; -1: no fault.
  int64_t value = 0;
  int64_t limit = 0;  // Valid values are [-limit, limit).
  bool is_set() const { return position >= 0; }
};

// Adds `limit` to a negative index; the result is valid when it is in [0, limit).
inline int64_t wrap_index(int64_t index, int64_t limit) {
  return index < 0 ? index + limit : index;
}

inline bool is_valid_index(int64_t wrapped, int64_t limit) {
  return static_cast<uint64_t>(wrapped) < static_cast<uint64_t>(limit);
}

}  // namespace colonnade::kernels
