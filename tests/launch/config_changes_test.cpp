#include "launch/config/config_changes.hpp"

#include <gmock/gmock.h>

#include "launch/config/config.hpp"

namespace skymm {
namespace {

TEST(ConfigChanges, AreThoseOfOptionsThatBothHave) {
  TrainConfig before, now;
  now.train.global_batch = 64;
  now.model.lora_targets = {"q_proj", "v_proj"};
  const std::vector<ConfigChange> changes = config_changes(to_ini(before), to_ini(now));
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].str(), "model.lora_targets none, now q_proj,v_proj");
  EXPECT_EQ(changes[1].str(), "train.global_batch 32, now 64");
  EXPECT_TRUE(config_changes(to_ini(now), to_ini(now)).empty());
  EXPECT_TRUE(config_changes("[train]\nold_option = 1\n# steps = 3\n", to_ini(now)).empty());
}

}  // namespace
}  // namespace skymm
