#include "launch/assembly/weights_convert.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "core/error.hpp"
#include "io/weights/gguf.hpp"
#include "io/weights/quantized.hpp"
#include "launch/assembly/model_folder.hpp"
#include "launch/assembly/weight_file.hpp"
#include "launch/config/options.hpp"
#include "ops/models/multimodal.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;

// How weights are stored: plain in a dtype, or, the linear ones, in few bits.
struct StoredFormat {
  DType dtype = DType::bf16;
  std::optional<Quantization> quantization = {};
};

StoredFormat parse_format(const std::string& name, bool double_quantization) {
  if (double_quantization && name != "nf4") fail_usage("--double-quantization is for --format nf4; it is {}", name);
  if (name == "f32" || name == "bf16") return {parse_dtype(name)};
  if (name == "int8") return {DType::bf16, Quantization{QuantizedFormat::int8, false}};
  if (name == "nf4") return {DType::bf16, Quantization{QuantizedFormat::nf4, double_quantization}};
  fail_usage("--format {} is unknown; give f32, bf16, int8 or nf4", name);
}

// A weight that a file is to have, without its elements.
struct PlannedWeight {
  std::string name;
  Shape shape;
  StoredFormat format;
};

PlannedWeight planned(const std::string& name, const Shape& shape, const StoredFormat& format) {
  StoredFormat own = format;
  if (!is_block_linear(name, shape.rank())) own.quantization.reset();
  return {name, shape, own};
}

// Writes weights of which one at a time is in memory.
class WeightsFile {
 public:
  WeightsFile(const std::string& path, const std::vector<PlannedWeight>& weights,
              const std::map<std::string, std::string>& metadata = {})
      : writer_(path, tensors_of(weights), with_formats(metadata, weights)) {}

  void write(const PlannedWeight& weight, const Tensor& value) {
    if (!weight.format.quantization) {
      return writer_.write(weight.name, value.to(weight.format.dtype));
    }
    const bool floating = value.dtype() == DType::f32 || value.dtype() == DType::bf16;
    const QuantizedTensor codes = QuantizedTensor::empty(weight.shape, *weight.format.quantization);
    kernels(value).quantize(floating ? value : value.to(DType::f32), codes);
    for (const auto& [name, tensor] : stored_tensors(weight.name, {}, codes)) writer_.write(name, tensor);
  }

  void commit() { writer_.commit(); }

 private:
  static std::vector<StreamedTensor> tensors_of(const std::vector<PlannedWeight>& weights) {
    std::vector<StreamedTensor> all;
    for (const PlannedWeight& weight : weights) {
      if (!weight.format.quantization) {
        all.push_back({weight.name, weight.format.dtype, weight.shape});
        continue;
      }
      // Its memory is never touched: only the shapes are asked for.
      const QuantizedTensor codes = QuantizedTensor::empty(weight.shape, *weight.format.quantization);
      for (const auto& [name, tensor] : stored_tensors(weight.name, {}, codes)) {
        all.push_back({name, tensor.dtype(), tensor.shape()});
      }
    }
    return all;
  }

  static std::map<std::string, std::string> with_formats(std::map<std::string, std::string> metadata,
                                                         const std::vector<PlannedWeight>& weights) {
    for (const PlannedWeight& weight : weights) {
      if (!weight.format.quantization) continue;
      QuantizedTensor codes{.format = weight.format.quantization->format, .shape = weight.shape};
      metadata.insert(quantized_metadata(weight.name, codes));
    }
    return metadata;
  }

  SafetensorsWriter writer_;
};

const Flag format_flag{"format", "FORMAT", "f32, bf16, or for linear weights of blocks int8 or nf4; default bf16"};
const Flag double_flag{"double-quantization", "BOOL", "nf4: scales in 8 bits too; default false"};

StoredFormat format_of(const Arguments& given) {
  const std::string* name = given.find("format");
  return parse_format(name != nullptr ? *name : "bf16", given.get("double-quantization", parse_bool, false));
}

Shape shape_of(const WeightSource& file, const std::string& name) {
  Shape shape;
  for (const std::int64_t dim : weight_shape(file, name)) shape.push_back(dim);
  return shape;
}

// What the file says of how its weights were trained.
std::map<std::string, std::string> kept_metadata(const WeightSource& file) {
  std::map<std::string, std::string> kept;
  for (const auto& [key, value] : file.metadata()) {
    if (key == "format" || key.starts_with("model.") || key.starts_with("frozen.")) kept[key] = value;
  }
  return kept;
}

}  // namespace

int convert_command(const std::vector<std::string>& arguments) {
  const std::vector<Flag> flags{format_flag, double_flag};
  const Arguments given = parse_arguments("skymm weights convert", flags, arguments, 2);
  if (given.help) {
    std::fputs(
        ("skymm weights convert IN OUT [--format FORMAT]\n\nWrites weights in another format, one weight in "
         "memory at a time.\nIN is a safetensors file, the folder of a model, an index of files, or a GGUF file. "
         "OUT is a file for a file. Of a\nfolder or a GGUF file it is a folder, with configuration and tokenizer "
         "beside the weights, which model.decoder or\nmodel.vision may name; or the weights alone where it ends "
         "in .safetensors.\n\n" +
         flags_help(flags))
            .c_str(),
        stdout);
    return 0;
  }
  if (given.positional.size() != 2) fail_usage("skymm weights convert takes two paths: IN OUT");
  const std::string &in = given.positional[0], &out = given.positional[1];
  const std::unique_ptr<WeightSource> source = open_weights(in);
  const bool model = fs::is_directory(in) || is_gguf(in), as_folder = model && !out.ends_with(".safetensors");
  const std::string file = as_folder ? out + "/model.safetensors" : out;
  for (const std::string& read : source->files()) {
    check(!fs::exists(file) || !fs::equivalent(read, file), "{} would be written over while it is read; choose another",
          file);
  }
  check(!as_folder || !fs::exists(out + "/model.safetensors.index.json"),
        "{} holds another model already (model.safetensors.index.json); choose another folder, or empty it", out);
  if (as_folder) fs::create_directories(out);
  const StoredFormat format = format_of(given);
  std::vector<PlannedWeight> weights;
  for (const std::string& name : weight_names(*source)) {
    weights.push_back(planned(name, shape_of(*source, name), format));
  }
  WeightsFile writer(file, weights, kept_metadata(*source));
  for (const PlannedWeight& weight : weights) writer.write(weight, read_weight(*source, weight.name));
  writer.commit();
  if (as_folder) write_beside(in, format.dtype, out);
  return 0;
}

namespace {

// The names and shapes of a decoder's weights, in the order of its layers, without their memory.
std::vector<PlannedWeight> decoder_weights(const DecoderConfig& d, const StoredFormat& format) {
  std::vector<PlannedWeight> weights;
  const auto add = [&](const std::string& name, const Shape& shape) {
    weights.push_back(planned(name, shape, format));
  };
  const std::int64_t queries = d.heads * d.head_width, keys = d.kv_heads * d.head_width;
  add("model.embed_tokens.weight", {d.vocabulary, d.width});
  for (std::int64_t i = 0; i < d.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    add(layer + "input_layernorm.weight", {d.width});
    add(layer + "self_attn.q_proj.weight", {queries, d.width});
    add(layer + "self_attn.k_proj.weight", {keys, d.width});
    add(layer + "self_attn.v_proj.weight", {keys, d.width});
    add(layer + "self_attn.o_proj.weight", {d.width, queries});
    add(layer + "post_attention_layernorm.weight", {d.width});
    add(layer + "mlp.gate_proj.weight", {d.ffn, d.width});
    add(layer + "mlp.up_proj.weight", {d.ffn, d.width});
    add(layer + "mlp.down_proj.weight", {d.width, d.ffn});
  }
  add("model.norm.weight", {d.width});
  if (!d.tied) add("lm_head.weight", {d.vocabulary, d.width});
  return weights;
}

// Of a vision tower, whose memory is never touched: only names and shapes are asked for.
std::vector<PlannedWeight> vision_weights(const VisionConfig& config, const StoredFormat& format) {
  std::vector<PlannedWeight> weights;
  VisionTransformer vision(config, DType::bf16, cpu());
  vision.visit("vision_model", [&](const std::string& name, const Parameter& parameter) {
    weights.push_back(planned(name, parameter.shape, format));
  });
  return weights;
}

std::vector<PlannedWeight> weights_of_presets(const Arguments& given) {
  const std::string *decoder = given.find("preset"), *vision = given.find("vision");
  if (decoder == nullptr && vision == nullptr) fail_usage("give --preset for a decoder, --vision for a tower, or both");
  std::vector<PlannedWeight> weights;
  if (decoder != nullptr) weights = decoder_weights(decoder_preset(*decoder), format_of(given));
  if (vision == nullptr) return weights;
  std::vector<PlannedWeight> more = vision_weights(vision_preset(*vision), format_of(given));
  weights.insert(weights.end(), more.begin(), more.end());
  return weights;
}

}  // namespace

int synthesize_command(const std::vector<std::string>& arguments) {
  const std::vector<Flag> flags{{"preset", "NAME", "decoder, such as llama-13b or tinyllama-1.1b"},
                                {"vision", "NAME", "vision tower, such as clip-vit-l14"},
                                {"out", "FILE", "safetensors file to write"},
                                format_flag,
                                double_flag,
                                {"seed", "N", "of the random numbers; default 1"}};
  const Arguments given = parse_arguments("skymm weights synthesize", flags, arguments, 0);
  if (given.help) {
    std::fputs(
        ("skymm weights synthesize [--preset NAME] [--vision NAME] --out FILE [--format FORMAT]\n\nWrites random "
         "weights of a decoder, a vision tower or both, scaled as training starts with them, one weight in "
         "memory at a time.\n\n" +
         flags_help(flags))
            .c_str(),
        stdout);
    return 0;
  }
  const std::uint64_t seed = given.get("seed", parse_unsigned, std::uint64_t{1});
  const std::vector<PlannedWeight> weights = weights_of_presets(given);
  WeightsFile out(given.required("out"), weights);
  for (const PlannedWeight& weight : weights) {
    Parameter parameter(weight.shape);
    parameter.value = Tensor::empty(weight.shape, DType::f32);
    initialize(weight.name, parameter, seed);
    out.write(weight, parameter.value);
  }
  out.commit();
  return 0;
}

}  // namespace skymm
