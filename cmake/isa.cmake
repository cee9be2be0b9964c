# A file's name says what it is compiled for: x86_avx2*.cc, x86_avx512*.cc, x86_avx512_vnni*.cc,
# x86_amx*.cc and arm_neon*.cc get flags of their own; every other file runs on any CPU of the
# architecture. A kernel file needs no line in any CMake file.

set(COLONNADE_X86 OFF)
set(COLONNADE_ARM OFF)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(COLONNADE_X86 ON)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(COLONNADE_ARM ON)
endif()

set(COLONNADE_FLAGS_avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2)
set(COLONNADE_FLAGS_avx512 ${COLONNADE_FLAGS_avx2}
  -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd)
set(COLONNADE_FLAGS_avx512_vnni ${COLONNADE_FLAGS_avx512} -mavx512vnni)
set(COLONNADE_FLAGS_amx ${COLONNADE_FLAGS_avx512_vnni} -mamx-tile -mamx-int8 -mamx-bf16)

# Drops the files of other architectures from the list called `list_name`, and gives the others
# the flags that their names ask for.
function(colonnade_select_isa list_name)
  set(kept)
  foreach(source IN LISTS ${list_name})
    get_filename_component(file ${source} NAME)
    if(file MATCHES "^x86_(avx512_vnni|avx512|avx2|amx)[_.]")
      if(COLONNADE_X86)
        set_source_files_properties(${source} PROPERTIES
          COMPILE_OPTIONS "${COLONNADE_FLAGS_${CMAKE_MATCH_1}}")
        list(APPEND kept ${source})
      endif()
    elseif(file MATCHES "^x86_")
      message(FATAL_ERROR "${source}: unknown ISA in the file name")
    elseif(file MATCHES "^arm_")
      if(COLONNADE_ARM)
        list(APPEND kept ${source})
      endif()
    else()
      list(APPEND kept ${source})
    endif()
  endforeach()
  set(${list_name} ${kept} PARENT_SCOPE)
endfunction()
