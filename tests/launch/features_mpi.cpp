// Features in place of pixels: the same training on any ranks, and only where they are those of this model and data.
#include "core/log.hpp"
#include "launch/assembly/features.hpp"
#include "launch/encode_command.hpp"
#include "support/mpi_main.hpp"
#include "support/shared_folder.hpp"
#include "support/support.hpp"
#include "support/tiny_training.hpp"

namespace skymm {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using testing::ranks;

class FeaturesOnRanks : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::error);
    if (ranks().rank() == 0) {
      TrainConfig config = testing::tiny_training(dir_);
      config.data.validation = config.data.train;
      config.data.augment = false;
      config.train.micro_batch = 2;  // some micro-batches are text alone
      config.train.validate_every = 3;
      write_file(dir_ + "/config.ini", to_ini(config));
    }
    ranks().barrier();
    config_ = *parse_config({"--config", dir_ + "/config.ini"});
  }

  std::string features() const { return dir_ + "/train.features.h5"; }

  void train(const std::string& name, bool features, bool pipeline) {
    TrainConfig config = config_;
    config.run.dir = dir_ + "/" + name;
    config.data.features = features;
    if (pipeline) {  // one cut goes through the ViT
      config.parallel.pipeline = ranks().size();
      config.parallel.cuts = {"vision.1", "layers.3", "layers.6", "layers.9"};
      config.parallel.cuts.resize(static_cast<std::size_t>(ranks().size()) - 1);
    }
    Trainer(config, ranks()).run();
    ranks().barrier();
  }

  const testing::SharedFolder folder_;
  const std::string dir_ = folder_.path();
  TrainConfig config_;
};

TEST_F(FeaturesOnRanks, TrainingOnThemIsTheSame) {
  if (ranks().rank() == 0) {
    SingleCommunicator one;
    encode_pictures(config_, one);
    std::filesystem::rename(features(), dir_ + "/alone.h5");
  }
  ranks().barrier();
  encode_pictures(config_, ranks());
  if (ranks().rank() == 0) {
    const Features several(features()), one(dir_ + "/alone.h5");
    ASSERT_EQ(several.info().pictures, 16);
    EXPECT_EQ(feature_differences(several.info(), one.info()), "");
    for (std::int64_t i = 0; i < 16; ++i) {
      const auto values = [i](const Features& from) { return to_floats(from.read(i), from.info().dtype); };
      const std::vector<float> a = values(several), b = values(one);
      EXPECT_LE(testing::relative_error({a.begin(), a.end()}, {b.begin(), b.end()}), 1e-5) << "picture " << i;
    }
  }
  for (const bool pipeline : {false, true}) {
    train(pipeline ? "pixels_pipeline" : "pixels", false, pipeline);
    train(pipeline ? "features_pipeline" : "features", true, pipeline);
  }
  if (ranks().rank() != 0) return;
  for (const char* of : {"loss", "validation loss"}) {
    const std::vector<double> pixels = testing::losses_of(dir_ + "/pixels", of);
    ASSERT_EQ(pixels.size(), of == std::string("loss") ? 6U : 2U);
    for (const char* name : {"features", "features_pipeline", "pixels_pipeline"}) {
      EXPECT_LE(testing::relative_error(testing::losses_of(dir_ + "/" + name, of), pixels), 1e-5) << name;
    }
  }
}

// As with pixels: the other samples of the batch are learned, with the same losses.
TEST_F(FeaturesOnRanks, APictureThatCannotBeDecodedLeavesTheSameHole) {
  if (ranks().rank() == 0) {
    DatasetWriter writer(dir_ + "/train.h5");
    for (int i = 0; i < 16; ++i) {
      writer.add({.id = std::to_string(i),
                  .images = {i == 3 ? "no picture" : testing::tiny_picture(i)},
                  .parts = {image_part(0), answer_part("yes")}});
    }
    writer.close();
  }
  ranks().barrier();
  encode_pictures(config_, ranks());
  if (ranks().rank() == 0) {
    const Features written(features());
    EXPECT_THAT(error_of([&] { written.read(3); }), HasSubstr("picture 3 has no features"));
    EXPECT_FALSE(written.read(4).empty());
  }
  train("pixels", false, false);
  train("features", true, false);
  if (ranks().rank() != 0) return;
  const std::vector<double> pixels = testing::losses_of(dir_ + "/pixels");
  EXPECT_EQ(pixels.size(), 6U);
  EXPECT_LE(testing::relative_error(testing::losses_of(dir_ + "/features"), pixels), 1e-5);
}

TEST_F(FeaturesOnRanks, OnlyThoseOfThisModelAndDataAreTaken) {
  if (ranks().rank() == 0) {
    SingleCommunicator one;
    const auto refused = [&](const TrainConfig& config) {
      TrainConfig again = config;
      again.data.features = true;
      again.run.dir = dir_ + "/refused";
      return error_of([&] { Trainer(again, one); });
    };
    EXPECT_THAT(refused(config_), HasSubstr("skymm data encode"));
    encode_pictures(config_, one);
    TrainConfig other = config_;
    const SafetensorsReader weights(dir_ + "/trained.safetensors");
    const std::string name = "vision_model.embeddings.position_embedding.weight";
    const Tensor changed = weights.read(name).clone();
    changed.fill(0.25);
    write_safetensors(dir_ + "/other.safetensors", {{name, changed}});
    other.model.weights.push_back(dir_ + "/other.safetensors");
    EXPECT_THAT(refused(other), HasSubstr("weights of the ViT: "));
    other = config_;
    other.data.fast_jpeg = true;
    EXPECT_THAT(refused(other), HasSubstr("data.fast_jpeg: false when they were encoded, true now"));
    std::filesystem::rename(dir_ + "/train.h5", dir_ + "/old.h5");
    DatasetWriter writer(dir_ + "/train.h5");
    for (int i = 0; i < 16; ++i) {
      writer.add({.id = std::to_string(i),
                  .images = {testing::tiny_picture(i + 40)},
                  .parts = {image_part(0), answer_part("yes")}});
    }
    writer.close();
    EXPECT_THAT(refused(config_), HasSubstr("data set: "));
    other = config_;
    other.data.augment = other.data.features = true;
    EXPECT_THAT(error_of([&] { check_config(other); }), HasSubstr("set data.augment false"));
    other.data.augment = false;
    other.model.train = {"vision", "lora"};
    EXPECT_THAT(error_of([&] { check_config(other); }), HasSubstr("leave vision out of model.train"));
  }
  ranks().barrier();
}

TEST_F(FeaturesOnRanks, WhatIsThereAndFitsStays) {
  encode_pictures(config_, ranks());
  const auto first = std::filesystem::last_write_time(features());
  encode_pictures(config_, ranks());
  EXPECT_EQ(std::filesystem::last_write_time(features()), first);
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
