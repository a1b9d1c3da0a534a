# What runtime/ embeds and what is made when the project is built:
#  - generated/seccomp_default.inc: the standard filter. Building it at run time would cost 2-7 ms per container.
#  - generated/container_init.inc: the little program that runs inside containers (security.md F3).
set(IMG_GENERATED ${CMAKE_BINARY_DIR}/generated)
file(MAKE_DIRECTORY ${IMG_GENERATED})

# Runs on the building machine only.
add_executable(img_seccomp_gen ${CMAKE_SOURCE_DIR}/runtime/gen/seccomp_gen.cc)
target_link_libraries(img_seccomp_gen PRIVATE seccomp)
add_custom_command(OUTPUT ${IMG_GENERATED}/seccomp_default.inc
  COMMAND img_seccomp_gen ${IMG_GENERATED}/seccomp_default.inc
  DEPENDS img_seccomp_gen)

# Freestanding: no libc, one segment, a few KiB. Compiled apart from all options of the build (sanitizers, LTO).
add_custom_command(OUTPUT ${IMG_GENERATED}/container_init
  COMMAND ${CMAKE_C_COMPILER} -std=c11 -Wall -Wextra -Werror -Os -ffreestanding -fno-stack-protector -fno-pic -no-pie
    -fcf-protection=none -fno-asynchronous-unwind-tables -nostdlib -static -s
    -Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,norelro
    -o ${IMG_GENERATED}/container_init ${CMAKE_SOURCE_DIR}/runtime/container_init.c
  DEPENDS ${CMAKE_SOURCE_DIR}/runtime/container_init.c)
add_custom_command(OUTPUT ${IMG_GENERATED}/container_init.inc
  COMMAND ${CMAKE_COMMAND} -DIN=${IMG_GENERATED}/container_init -DOUT=${IMG_GENERATED}/container_init.inc
    -P ${CMAKE_SOURCE_DIR}/runtime/gen/embed.cmake
  DEPENDS ${IMG_GENERATED}/container_init ${CMAKE_SOURCE_DIR}/runtime/gen/embed.cmake)

set_source_files_properties(${CMAKE_SOURCE_DIR}/runtime/seccomp.cc PROPERTIES
  OBJECT_DEPENDS ${IMG_GENERATED}/seccomp_default.inc)
set_source_files_properties(${CMAKE_SOURCE_DIR}/runtime/own_binary.cc PROPERTIES
  OBJECT_DEPENDS ${IMG_GENERATED}/container_init.inc)
