// A training run small enough for a test: a tiny model with frozen random weights, and samples with and without
// pictures.
#pragma once

#include <nlohmann/json.hpp>
#include <sstream>

#include "io/base64.hpp"
#include "io/dataset.hpp"
#include "launch/training/trainer.hpp"
#include "support/tiny_run.hpp"

namespace skymm::testing {

// Makes `dir` with frozen weights, tokenizer and 24 samples, of which every third has no picture.
inline TrainConfig tiny_training(const std::string& dir) {
  std::filesystem::create_directories(dir);
  write_tiny_run(dir);
  DatasetWriter writer(dir + "/train.h5");
  for (int i = 0; i < 24; ++i) {
    Sample sample{.id = std::to_string(i), .language = i % 2 ? Language::chinese : Language::english, .source = "test"};
    if (i % 3 != 0) {
      sample.images = {tiny_picture(i)};
      sample.parts = {image_part(0)};
    }
    sample.parts.push_back(text_part(i % 2 ? "图里有饺子吗？" : "Is there a dumpling?"));
    sample.parts.push_back(answer_part(i % 4 < 2 ? "yes" : "no"));
    writer.add(sample);
  }
  writer.close();
  TrainConfig config = *parse_config({"--config", dir + "/config.ini"});
  config.run.dir = dir + "/run";
  config.model.weights = {dir + "/trained.safetensors"};
  config.model.train = {"resampler", "lora"};
  config.model.lora_rank = 4;
  config.model.lora_dropout = 0.1F;
  config.data.train = {{dir + "/train.h5"}};
  config.train.steps = 6;
  config.train.global_batch = 12;
  config.train.micro_batch = 3;
  config.train.learning_rate = 5e-3F;
  config.train.warmup_steps = 2;
  config.parallel.uneven = "deal";  // any number of ranks can have it
  return config;
}

// Of POPE's file.
inline std::string pope_line(const std::string& image, const std::string& label) {
  return nlohmann::json{{"image", image}, {"text", "Is there a kite?"}, {"label", label}}.dump() + "\n";
}

// The same training, which is asked questions every other step: MME in two languages, MMBench, and POPE, of which a
// picture is missing. The sets are made in `dir`.
inline TrainConfig with_evaluation(TrainConfig config, const std::string& dir) {
  write_tiny_mme(dir + "/mme", 3);
  std::string rows = "index\tquestion\thint\tA\tB\tanswer\tcategory\timage\tl2-category\n";
  for (int i = 0; i < 3; ++i) {
    rows += fmt::format("{}\tWhat is it?\tnan\tpanda\tdumpling\tB\tthing\t{}\tCP\n", i, encode_base64(tiny_picture(i)));
  }
  write_file(dir + "/mmbench.tsv", rows);
  write_file(dir + "/pope_popular.json", pope_line("0.png", "yes") + pope_line("gone.png", "no"));
  write_file(dir + "/0.png", tiny_picture(0));
  config.data.evaluation = {"mme=" + dir + "/mme", "mmbench=" + dir + "/mmbench.tsv",
                            "pope=" + dir + "/pope_popular.json"};
  config.data.evaluation_images = dir;
  config.train.evaluate_every = 2;
  return config;
}

// name: of the loss, "loss" or "validation loss".
inline std::vector<double> losses_of(const std::string& run_dir, const std::string& name = "loss") {
  std::vector<double> losses;
  std::istringstream lines(read_file(run_dir + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json entry = nlohmann::json::parse(line);
    if (entry.contains(name)) losses.push_back(entry.at(name));
  }
  return losses;
}

}  // namespace skymm::testing
