#include "support/text.hpp"

#include <cstdlib>
#include <filesystem>

#include "core/error.hpp"
#include "io/file.hpp"

namespace skymm::testing {

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "skymm_test_XXXXXX").string();
  check(mkdtemp(name.data()) != nullptr, "cannot make a folder {}", name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.message();
  }
  ADD_FAILURE() << "no Error was thrown";
  return {};
}

void train_nano_tokenizer(const std::string& model_path) {
  const TemporaryFolder folder;
  std::string corpus;
  for (const char* line : {"What is in the picture? I see a dumpling and a red panda.", "Is there a panda? yes no",
                           "图里有什么？有一个饺子。有熊猫吗？没有。", "the color of the circle is red, green or blue",
                           "USER: ASSISTANT: system user assistant", "红色的圆形在左边，蓝色的方块在右边。"}) {
    for (int i = 0; i < 8; ++i) corpus += std::string(line) + "\n";
  }
  write_file(folder.file("corpus.txt"), corpus);
  train_tokenizer(folder.file("corpus.txt"), model_path,
                  {.vocab_size = 420, .symbols = {" dumpling", " red panda", "饺子", " a, b", "饺子"}});
}

const Tokenizer& nano_tokenizer() {
  static const std::unique_ptr<Tokenizer> tokenizer = [] {
    const TemporaryFolder folder;
    train_nano_tokenizer(folder.file("nano.model"));
    return load_tokenizer(folder.file("nano.model"));
  }();
  return *tokenizer;
}

}  // namespace skymm::testing
