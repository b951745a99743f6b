# GLSL to SPIR-V to arrays of words, at build time.
#
#   smelt_shaders(TARGET FOLDER)
#
# Adds the shaders of FOLDER to TARGET as the function ShaderCode of infer/vulkan/shaders.h: each *.comp by its name, and one that
# decodes weights once for every block format of FOLDER/formats ("matvec_q4_k"); products once more, of inputs rounded to 8 bits, for
# those that are no floats ("matvec8_q4_k").
function(smelt_shaders target folder)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/shaders)
  set(decoding decode matmul matvec)
  set(products matmul matvec)
  set(helpers grids k_scales nibbles)
  set(floats bf16 f16 f32)
  file(GLOB operations CONFIGURE_DEPENDS ${folder}/*.comp)
  file(GLOB formats CONFIGURE_DEPENDS ${folder}/formats/*.glsl)
  file(GLOB included CONFIGURE_DEPENDS ${folder}/*.glsl)
  set(arrays "")
  set(rows "")
  set(files "")
  foreach(operation IN LISTS operations)
    get_filename_component(name ${operation} NAME_WE)
    if(NOT name IN_LIST decoding)
      smelt_shader(${operation} ${name} "" "")
      continue()
    endif()
    foreach(format IN LISTS formats)
      get_filename_component(format_name ${format} NAME_WE)
      if(NOT format_name IN_LIST helpers)
        # weights.glsl includes format.glsl: that of this folder.
        file(CONFIGURE OUTPUT ${out}/${format_name}/format.glsl CONTENT "#include \"formats/${format_name}.glsl\"\n")
        smelt_shader(${operation} ${name}_${format_name} ${out}/${format_name} "")
        if(name IN_LIST products AND NOT format_name IN_LIST floats)
          smelt_shader(${operation} ${name}8_${format_name} ${out}/${format_name} -DINTEGER)
        endif()
      endif()
    endforeach()
  endforeach()
  file(CONFIGURE OUTPUT ${out}/shaders.cc CONTENT "#include \"infer/vulkan/shaders.h\"

#include <algorithm>
#include <iterator>

namespace smelt::vulkan {
namespace {

${arrays}
struct Shader {
  std::string_view name;
  std::span<const uint32_t> code;
};
constexpr Shader kShaders[] = {
${rows}};

}  // namespace

std::span<const uint32_t> ShaderCode(std::string_view name) {
  const auto* found = std::ranges::find(kShaders, name, &Shader::name);
  return found == std::end(kShaders) ? std::span<const uint32_t>() : found->code;
}

}  // namespace smelt::vulkan
")
  set_source_files_properties(${out}/shaders.cc PROPERTIES OBJECT_DEPENDS "${files}" SKIP_UNITY_BUILD_INCLUSION ON)
  target_sources(${target} PRIVATE ${out}/shaders.cc)
  target_include_directories(${target} PRIVATE ${out})
endfunction()

# One shader: its array, its row in the table, its file.
macro(smelt_shader source name format_folder definition)
  set(spirv ${out}/${name}.inc)
  add_custom_command(
    OUTPUT ${spirv}
    COMMAND ${SMELT_GLSLC} --target-env=vulkan1.2 -O ${definition} -mfmt=c -I ${folder} "$<$<BOOL:${format_folder}>:-I${format_folder}>" -o ${spirv}
            ${source}
    DEPENDS ${source} ${included} ${formats}
    COMMENT "Compiling shader ${name}"
    COMMAND_EXPAND_LISTS VERBATIM)
  string(APPEND arrays "constexpr uint32_t k_${name}[] =\n#include \"${name}.inc\"\n    ;\n")
  string(APPEND rows "    {\"${name}\", k_${name}},\n")
  list(APPEND files ${spirv})
endmacro()
