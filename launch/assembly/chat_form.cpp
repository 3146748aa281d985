#include "launch/assembly/chat_form.hpp"

#include <array>
#include <filesystem>

#include "core/error.hpp"
#include "io/file.hpp"
#include "io/json.hpp"
#include "io/weights/gguf.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;

// What a template of transformers', a program in Jinja, writes, told by the marks in it; the first that has them all.
struct Marks {
  const char* ours;
  std::array<std::string_view, 2> marks;
};
constexpr std::array<Marks, 5> known = {{{"smollm2", {"<|im_start|>", "named SmolLM"}},
                                         {"chatml", {"<|im_start|>", "<|im_end|>"}},
                                         {"llama_2", {"[INST]", "<<SYS>>"}},
                                         {"vicuna_v1", {"USER:", "ASSISTANT:"}},
                                         {"skywork", {"[USER]", "[BOT]"}}}};

// The Jinja text that comes with the tokenizer at `path`; empty where there is none.
std::string jinja_of(const std::string& path) {
  const fs::path folder = fs::is_directory(path) ? fs::path(path) : fs::path(path).parent_path();
  if (const fs::path alone = folder / "chat_template.jinja"; fs::exists(alone)) return read_file(alone.string());
  if (const fs::path config = folder / "tokenizer_config.json"; fs::exists(config)) {
    const nlohmann::json text = read_json(config.string()).value("chat_template", nlohmann::json());
    if (text.is_string()) return text.get<std::string>();
    for (const nlohmann::json& one : text) {  // of several, with names
      if (one.is_object() && one.value("name", "") == "default") return one.value("template", "");
    }
  }
  const std::string file = fs::is_directory(path) && !fs::exists(folder / "config.json") ? weights_file(path) : path;
  return !fs::is_directory(file) && is_gguf(file) ? GgufFile(file).text("tokenizer.chat_template", "") : "";
}

// Of models that had one before there were such texts.
bool is_skywork(const std::string& decoder) {
  const fs::path config = fs::path(decoder) / "config.json";
  return fs::exists(config) && read_json(config.string()).value("model_type", "") == "skywork";
}

}  // namespace

std::string chat_form(const TrainConfig& config) {
  if (config.data.chat_template != "auto") return config.data.chat_template;
  const std::string path = tokenizer_path(config.model);
  const std::string jinja = jinja_of(path);
  for (const auto& [ours, marks] : known) {
    if (jinja.find(marks[0]) != std::string::npos && jinja.find(marks[1]) != std::string::npos) return ours;
  }
  if (is_skywork(config.model.decoder)) return "skywork";
  fail("data.chat_template auto: {}: choose one, such as vicuna_v1 for a model that has learnt none",
       jinja.empty() ? fmt::format("{} comes without a chat template", path)
                     : fmt::format("the chat template that comes with {} writes as none that skymm has", path));
}

}  // namespace skymm
