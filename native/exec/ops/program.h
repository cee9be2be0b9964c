// Element-wise programs in a Plan: the words of planner/lower/program.py `encode_program`.
#pragma once

#include <span>
#include <string>

#include "kernels/elementwise/elementwise.h"

namespace colonnade::exec {

// Fills `program`; returns an empty string or what is wrong.
std::string read_program(std::span<const int64_t> words, kernels::ElementwiseProgram& program);

}  // namespace colonnade::exec
