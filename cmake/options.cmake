# Compiler and linker flags of every target of ours, on one interface target.
add_library(img_options INTERFACE)
target_include_directories(img_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
target_compile_options(img_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion $<$<COMPILE_LANGUAGE:CXX>:-Wold-style-cast>
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual>
  -fno-plt -ffunction-sections -fdata-sections)
target_compile_definitions(img_options INTERFACE
  _GNU_SOURCE _FILE_OFFSET_BITS=64 IMG_VERSION="${PROJECT_VERSION}"
  SPDLOG_FMT_EXTERNAL $<$<CONFIG:Debug>:_GLIBCXX_ASSERTIONS>)
target_link_options(img_options INTERFACE -Wl,--gc-sections)
if(IMG_WERROR)
  target_compile_options(img_options INTERFACE -Werror)
endif()
if(IMG_SANITIZE)
  target_compile_options(img_options INTERFACE -fsanitize=${IMG_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(img_options INTERFACE -fsanitize=${IMG_SANITIZE})
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  # -Og keeps the tests quick; line tables are enough for a backtrace and halve the link time.
  set(CMAKE_CXX_FLAGS_DEBUG "-Og -g1" CACHE STRING "" FORCE)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
  set(CMAKE_CXX_FLAGS_RELEASE "-O2" CACHE STRING "" FORCE)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_link_options(img_options INTERFACE -flto=auto)  # CMake asks for serial jobs at the link
  endif()
endif()
