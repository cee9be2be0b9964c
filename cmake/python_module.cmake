# The module colonnade._core: native/bindings over the static libraries.

find_package(Python 3.11 REQUIRED
  COMPONENTS Interpreter Development.Module ${SKBUILD_SABI_COMPONENT})
execute_process(COMMAND ${Python_EXECUTABLE} -m nanobind --cmake_dir
  OUTPUT_VARIABLE nanobind_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
find_package(nanobind CONFIG REQUIRED)

file(GLOB bindings CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/native/bindings/*.cc)
nanobind_add_module(_core STABLE_ABI NB_STATIC NB_SUPPRESS_WARNINGS ${bindings})
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/include/bindings)
file(CREATE_LINK ${PROJECT_SOURCE_DIR}/native/bindings
  ${PROJECT_BINARY_DIR}/include/bindings/bindings SYMBOLIC)
target_include_directories(_core PRIVATE ${PROJECT_BINARY_DIR}/include/bindings)
target_link_libraries(_core PRIVATE
  colonnade_flags colonnade_exec colonnade_kernels colonnade_runtime)
# The symbols of static libraries stay inside the module.
target_link_options(_core PRIVATE -Wl,--exclude-libs,ALL)
install(TARGETS _core LIBRARY DESTINATION colonnade)
