#include "launch/assembly/hugging_face.hpp"

#include <algorithm>
#include <array>
#include <filesystem>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/json.hpp"
#include "io/weights/gguf.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The fields of one object of a configuration; errors name the file and the field.
class Fields {
 public:
  Fields(const json& object, std::string path) : object_(object), path_(std::move(path)) {}

  bool has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }

  std::int64_t integer(const char* key) const {
    const bool fits = has(key) && object_[key].is_number_unsigned() && object_[key] > 0 && object_[key] < 1 << 30;
    check(fits, "{}: {} is {}; a positive number is needed", path_, key, shown(key));
    return object_[key].get<std::int64_t>();
  }
  std::int64_t integer(const char* key, std::int64_t otherwise) const { return has(key) ? integer(key) : otherwise; }

  float number(const char* key, double otherwise) const {
    if (!has(key)) return static_cast<float>(otherwise);
    check(object_[key].is_number() && object_[key] > 0, "{}: {} is {}; a positive number is needed", path_, key,
          shown(key));
    return object_[key].get<float>();
  }

  std::string text(const char* key, const std::string& otherwise) const {
    if (!has(key)) return otherwise;
    check(object_[key].is_string(), "{}: {} is {}; a string is needed", path_, key, shown(key));
    return object_[key].get<std::string>();
  }

  bool flag(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    check(object_[key].is_boolean(), "{}: {} is {}; true or false is needed", path_, key, shown(key));
    return object_[key].get<bool>();
  }

  // Three numbers, one for each colour.
  void colors(const char* key, std::array<float, 3>& to) const {
    if (!has(key)) return;
    const json& list = object_[key];
    check(list.is_array() && list.size() == 3 && list[0].is_number() && list[1].is_number() && list[2].is_number(),
          "{}: {} is {}; three numbers are needed", path_, key, shown(key));
    for (std::size_t i = 0; i < 3; ++i) to[i] = list[i].get<float>();
  }

  Fields inner(const char* key) const {
    check(has(key) && object_[key].is_object(), "{}: {} is {}; an object is needed", path_, key, shown(key));
    return {object_[key], path_};
  }

  std::string shown(const char* key) const {
    return object_.contains(key) ? object_[key].dump(-1, ' ', false, json::error_handler_t::replace) : "absent";
  }
  const std::string& path() const { return path_; }

 private:
  const json& object_;
  std::string path_;
};

// What changes a model's numbers and is not computed here.
void refuse_unless(const Fields& fields, bool ok, const char* key) {
  check(ok, "{}: {} is {}, which skymm does not compute; use another model", fields.path(), key, fields.shown(key));
}

float rope_theta(const Fields& fields) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!fields.has(key)) continue;
    const Fields scaling = fields.inner(key);
    const std::string type = scaling.text("rope_type", scaling.text("type", "default"));
    refuse_unless(fields, type == "default", key);
    if (scaling.has("rope_theta")) return scaling.number("rope_theta", 1e4);
  }
  return fields.number("rope_theta", 1e4);
}

// Sizes that do not belong together are found here, before gigabytes are read.
void check_decoder(const DecoderConfig& c, const std::string& path) {
  check(c.heads % c.kv_heads == 0, "{}: {} attention heads do not divide among {} heads of keys and values", path,
        c.heads, c.kv_heads);
  check(c.head_width % 2 == 0, "{}: heads of width {} have no rotary pairs", path, c.head_width);
}

DecoderDescription describe_config(const std::string& file) {
  const json object = read_json(file);
  const Fields fields(object, file);
  const std::string type = fields.text("model_type", "");
  constexpr std::array known = {"llama", "skywork", "mistral", "qwen2"};
  check(std::ranges::find(known, type) != known.end(), "{}: a model of type '{}' cannot be computed; there are: {}",
        file, type, fmt::join(known, ", "));
  refuse_unless(fields, fields.text("hidden_act", "silu") == "silu", "hidden_act");
  refuse_unless(fields, !fields.flag("attention_bias", false), "attention_bias");
  refuse_unless(fields, !fields.flag("mlp_bias", false), "mlp_bias");
  refuse_unless(fields, fields.number("partial_rotary_factor", 1) == 1, "partial_rotary_factor");
  DecoderDescription out;
  DecoderConfig& c = out.config;
  c.vocabulary = fields.integer("vocab_size");
  c.width = fields.integer("hidden_size");
  c.layers = fields.integer("num_hidden_layers");
  c.heads = fields.integer("num_attention_heads");
  c.kv_heads = fields.integer("num_key_value_heads", c.heads);
  check(fields.has("head_dim") || c.width % c.heads == 0, "{}: hidden_size {} does not divide into {} heads", file,
        c.width, c.heads);
  c.head_width = fields.integer("head_dim", c.width / c.heads);
  c.ffn = fields.integer("intermediate_size");
  c.eps = fields.number("rms_norm_eps", 1e-6);
  c.theta = rope_theta(fields);
  c.tied = fields.flag("tie_word_embeddings", false);
  c.qkv_bias = type == "qwen2";
  check_decoder(c, file);
  out.max_positions = fields.integer("max_position_embeddings", 0);
  if (fields.flag("use_sliding_window", type == "mistral")) c.window = fields.integer("sliding_window", 0);
  return out;
}

DecoderDescription describe_gguf(const std::string& path) {
  const GgufFile file(path);
  const std::string type = file.architecture();
  check(type == "llama" || type == "qwen2", "{}: the architecture '{}' cannot be computed; there are: llama, qwen2",
        path, type);
  const auto size = [&](const std::string& key, std::optional<std::int64_t> otherwise = {}) {
    const std::int64_t n = file.integer(type + "." + key, otherwise);
    check(n > 0 && n < 1 << 30, "{}: {}.{} is {}; a positive number is needed", path, type, key, n);
    return n;
  };
  const std::string scaling = file.text(type + ".rope.scaling.type", "none");
  check(scaling == "none" && !file.contains("rope_freqs.weight"),
        "{}: its rotary positions are scaled ({}), which skymm does not compute; use another model", path,
        scaling == "none" ? "rope_freqs.weight" : scaling);
  for (const char* key : {".rope.scaling.factor", ".rope.scale_linear"}) {  // the second: of older files, with no type
    const double factor = file.number(type + key, 1.0);
    check(factor == 1 || factor == 0, "{}: {}{} is {}, which skymm does not compute; use another model", path, type,
          key, factor);
  }
  DecoderDescription out;
  DecoderConfig& c = out.config;
  c.vocabulary = file.entry("model.embed_tokens.weight").rows();
  c.width = size("embedding_length");
  c.layers = size("block_count");
  c.heads = size("attention.head_count");
  c.kv_heads = size("attention.head_count_kv", c.heads);
  c.head_width = size("attention.key_length", c.width / c.heads);
  c.ffn = size("feed_forward_length");
  c.eps = static_cast<float>(file.number(type + ".attention.layer_norm_rms_epsilon"));
  c.theta = static_cast<float>(file.number(type + ".rope.freq_base", 1e4));
  c.tied = !file.contains("lm_head.weight");
  c.qkv_bias = type == "qwen2";
  check_decoder(c, path);
  check(size("rope.dimension_count", c.head_width) == c.head_width,
        "{}: rotary positions on part of a head are not computed; use another model", path);
  out.max_positions = file.integer(type + ".context_length", 0);
  c.window = file.integer(type + ".attention.sliding_window", 0);
  return out;
}

Activation activation_of(const Fields& fields, const std::string& name, const char* key) {
  if (name == "quick_gelu") return Activation::quick_gelu;
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::gelu_tanh;
  refuse_unless(fields, false, key);
  return {};
}

void check_vision(const VisionConfig& c, const std::string& path) {
  check(c.image >= c.patch, "{}: an image of {} pixels has no patch of {}", path, c.image, c.patch);
  check(c.width % c.heads == 0, "{}: a width of {} does not divide into {} heads", path, c.width, c.heads);
}

// Of {"height", "width"}, {"shortest_edge"} or a number: the one length in pixels; 0 where there is none.
std::int64_t length_in(const Fields& fields, const char* key) {
  if (!fields.has(key)) return 0;
  if (fields.shown(key).front() != '{') return fields.integer(key);
  const Fields lengths = fields.inner(key);
  if (lengths.has("shortest_edge")) return lengths.integer("shortest_edge");
  refuse_unless(fields, lengths.integer("height") == lengths.integer("width"), key);
  return lengths.integer("height");
}

// How pictures are brought to the ViT. They are resized bicubically, whatever the filter; a model that was trained with
// another sees little of the difference, and is warned of.
void read_preprocessor(const std::string& path, std::int64_t size, ImageSpec& images) {
  const json object = read_json(path);
  const Fields fields(object, path);
  fields.colors("image_mean", images.mean);
  fields.colors("image_std", images.std);
  constexpr std::int64_t bicubic = 3;  // PIL's number
  if (fields.has("resample") && fields.shown("resample") != std::to_string(bicubic)) {
    log::warn("{}: resample is {}, but pictures are resized bicubically (3)", path, fields.shown("resample"));
  }
  for (const char* key : {"size", "crop_size"}) {
    const std::int64_t length = length_in(fields, key);
    refuse_unless(fields, length == 0 || length == size, key);
  }
  if (images.fit == Fit::crop && !fields.flag("do_center_crop", true)) {
    refuse_unless(fields, fields.has("size") && fields.inner("size").has("height"), "do_center_crop");
    images.fit = Fit::stretch;
  }
}

// Fields that are absent have the defaults of transformers, which writes only what differs from them.
VisionDescription describe_tower(const Fields& fields, bool siglip, const std::string& folder) {
  VisionDescription out;
  VisionConfig& c = out.config;
  c.image = fields.integer("image_size", 224);
  c.patch = fields.integer("patch_size", siglip ? 16 : 32);
  c.width = fields.integer("hidden_size", 768);
  c.layers = fields.integer("num_hidden_layers", 12);
  c.heads = fields.integer("num_attention_heads", 12);
  c.ffn = fields.integer("intermediate_size", 3072);
  c.eps = fields.number("layer_norm_eps", siglip ? 1e-6 : 1e-5);
  const std::string activation = fields.text("hidden_act", siglip ? "gelu_pytorch_tanh" : "quick_gelu");
  c.activation = activation_of(fields, activation, "hidden_act");
  c.class_token = c.pre_norm = !siglip;
  c.patch_bias = siglip;
  c.output_layer = -2;
  refuse_unless(fields, fields.integer("num_channels", 3) == 3, "num_channels");
  check_vision(c, fields.path());
  if (siglip) {
    out.images.mean = out.images.std = {0.5F, 0.5F, 0.5F};
    out.images.fit = Fit::stretch;
  }
  const fs::path preprocessor = fs::path(folder) / "preprocessor_config.json";
  if (fs::exists(preprocessor)) read_preprocessor(preprocessor.string(), c.image, out.images);
  return out;
}

VisionDescription describe_open_clip(const std::string& file) {
  const json object = read_json(file);
  const Fields whole(object, file), model = whole.inner("model_cfg"), fields = model.inner("vision_cfg");
  for (const char* key : {"timm_model_name", "attentional_pool", "patch_dropout_inference", "act_kwargs"}) {
    refuse_unless(fields, !fields.has(key) || fields.shown(key) == "false", key);
  }
  VisionDescription out{.names = VisionNames::open_clip};
  VisionConfig& c = out.config;
  c.image = fields.integer("image_size", 224);
  c.patch = fields.integer("patch_size", 16);
  c.width = fields.integer("width", 768);
  c.layers = fields.integer("layers", 12);
  c.heads = c.width / fields.integer("head_width", 64);
  check(c.heads > 0, "{}: head_width {} is more than width {}", file, fields.integer("head_width", 64), c.width);
  c.ffn = static_cast<std::int64_t>(static_cast<float>(c.width) * fields.number("mlp_ratio", 4));
  if (fields.has("norm_kwargs")) c.eps = fields.inner("norm_kwargs").number("eps", c.eps);
  c.activation = model.flag("quick_gelu", false) ? Activation::quick_gelu : Activation::gelu;
  c.class_token = true;
  refuse_unless(fields, !fields.flag("no_ln_pre", false), "no_ln_pre");
  c.output_layer = -2;
  check_vision(c, file);
  if (whole.has("preprocess_cfg")) {
    const Fields images = whole.inner("preprocess_cfg");
    images.colors("mean", out.images.mean);
    images.colors("std", out.images.std);
    const std::string mode = images.text("resize_mode", "shortest"), filter = images.text("interpolation", "bicubic");
    refuse_unless(images, mode == "shortest" || mode == "squash", "resize_mode");
    if (mode == "squash") out.images.fit = Fit::stretch;
    if (filter != "bicubic") log::warn("{}: interpolation is {}, but pictures are resized bicubically", file, filter);
  }
  return out;
}

}  // namespace

DecoderDescription describe_decoder(const std::string& path) {
  if (!fs::is_directory(path)) return describe_gguf(path);
  const fs::path config = fs::path(path) / "config.json";
  return fs::exists(config) ? describe_config(config.string()) : describe_gguf(weights_file(path));
}

VisionDescription describe_vision(const std::string& path) {
  check(fs::is_directory(path), "{} is no folder; a vision model is a folder with config.json and model.safetensors",
        path);
  const fs::path config = fs::path(path) / "config.json", open_clip = fs::path(path) / "open_clip_config.json";
  // Some folders have both; the names in the weights decide.
  VisionDescription out;
  if (fs::exists(open_clip) && (!fs::exists(config) || open_weights(path)->contains("visual.conv1.weight"))) {
    out = describe_open_clip(open_clip.string());
  } else {
    const json object = read_json(config.string());
    const Fields fields(object, config.string());
    const std::string type = fields.text("model_type", "");
    const bool siglip = type.starts_with("siglip");
    constexpr std::array known = {"clip", "clip_vision_model", "siglip", "siglip_vision_model"};
    check(std::ranges::find(known, type) != known.end(),
          "{}: a vision model of type '{}' cannot be computed; there are: {}", config.string(), type,
          fmt::join(known, ", "));
    const bool tower = type.ends_with("_vision_model");
    out = describe_tower(tower ? fields : fields.inner("vision_config"), siglip, path);
  }
  out.images.size = static_cast<int>(out.config.image);
  return out;
}

}  // namespace skymm
