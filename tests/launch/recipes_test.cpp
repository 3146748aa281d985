// The recipes that ship: each parses, and what they ship with fits together.
#include <filesystem>

#include "io/weights/safetensors.hpp"
#include "launch/assembly/assembly.hpp"
#include "launch/config/config.hpp"
#include "support/support.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
const fs::path root = SKYMM_SOURCE_DIR;

TEST(Recipes, EachParses) {
  int count = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(root / "launch/recipes")) {
    if (entry.path().extension() != ".ini") continue;
    SCOPED_TRACE(entry.path().string());
    std::vector<std::string> arguments = {"--config", entry.path().string()};
    if (entry.path().filename().string().starts_with("pretrained")) {  // the model is the caller's
      arguments.insert(arguments.end(), {"--model.decoder", "pico", "--model.vision", "vit-pico", "--model.tokenizer",
                                         (root / "launch/recipes/nano/tokenizer.model").string()});
    }
    const auto config = parse_config(arguments);
    ASSERT_TRUE(config.has_value());
    check_config(*config);
    ++count;
  }
  EXPECT_GE(count, 4);
}

TEST(Recipes, ShippedWeightsAreSmallAndFitStage1) {
  TrainConfig config = *parse_config({"--config", (root / "launch/recipes/nano-stage1.ini").string()});
  std::uintmax_t bytes = 0;
  for (std::string& file : config.model.weights) {
    file = (root / file).string();
    bytes += fs::file_size(file);
  }
  config.model.tokenizer = (root / config.model.tokenizer).string();
  EXPECT_LT(bytes + fs::file_size(config.model.tokenizer), 12U << 20);
  const Assembly assembly = assemble(config);
  EXPECT_NE(assembly.frozen_hash, 0U);
  EXPECT_EQ(assembly.tokenizer->encode(" dumpling").size(), 1U);
  EXPECT_EQ(assembly.tokenizer->encode("饺子").size(), 1U);
}

}  // namespace
}  // namespace skymm
