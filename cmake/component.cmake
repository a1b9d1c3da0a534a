# img_component(NAME [DEPENDS folder...] [LIBS library...]): one static library per folder.
function(img_component name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${name}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  if(NOT sources)
    add_library(img_${name} INTERFACE)
    set(scope INTERFACE)
  else()
    add_library(img_${name} STATIC ${sources})
    set(scope PUBLIC)
  endif()
  target_link_libraries(img_${name} ${scope} img_options)
  foreach(dep ${ARG_DEPENDS})
    target_link_libraries(img_${name} ${scope} img_${dep})
  endforeach()
  target_link_libraries(img_${name} ${scope} ${ARG_LIBS})
endfunction()

# The program: one static binary, and a link for each command (imgX = img X).
function(img_program)
  if(NOT EXISTS ${CMAKE_SOURCE_DIR}/cli/main.cc)
    return()
  endif()
  add_executable(img ${CMAKE_SOURCE_DIR}/cli/main.cc)
  target_link_libraries(img PRIVATE img_cli)
  if(NOT IMG_SANITIZE)
    # The linker's sorted table of unwind entries, which gcc leaves out of static programs. Without it the first
    # exception of every process, workers included, sorts 200,000 entries (34 million instructions, 10 ms). The start
    # files announce the unsorted ones if there is whom to tell (weak references in crtbeginT.o); --wrap gives these
    # references names that nobody defines, so that libgcc looks in PT_GNU_EH_FRAME (unwind-dw2-fde-dip.c).
    target_link_options(img PRIVATE -static -Wl,--eh-frame-hdr
      -Wl,--wrap=__register_frame_info -Wl,--wrap=__deregister_frame_info)
  endif()
  img_order(img)
  set_target_properties(img PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  set(links build debug run create commit exec ps ls images pull push tag rm rmi inspect history save load import
    export prune stop kill start restart pause unpause rename attach wait logs top stats update cp diff port info volume
    verify login logout version)
  foreach(link ${links})
    add_custom_command(TARGET img POST_BUILD
      COMMAND ${CMAKE_COMMAND} -E create_symlink img ${CMAKE_BINARY_DIR}/bin/img${link})
  endforeach()
endfunction()

# img-remote, beside img: dynamic, because libcurl is, and because only this program needs it. The tests and img itself
# start it, so it is built whenever img is.
function(img_remote_program)
  find_package(CURL REQUIRED)
  add_executable(img-remote ${CMAKE_SOURCE_DIR}/registry/main.cc)
  target_link_libraries(img-remote PRIVATE img_registry)
  set_target_properties(img-remote PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  add_dependencies(img img-remote)
endfunction()
