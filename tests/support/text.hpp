// What the tests of text, prompts and loading share: a folder that goes away, a small trained tokenizer, error texts.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "io/tokenizer.hpp"

namespace skymm::testing {

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// The message of the Error that `body` throws; a failed test where it throws none.
std::string error_of(const std::function<void()>& body);

// 420 tokens trained on a few bilingual sentences, with the symbols " dumpling", " red panda", "饺子" and " a, b".
void train_nano_tokenizer(const std::string& model_path);
const Tokenizer& nano_tokenizer();

}  // namespace skymm::testing
