// A run directory as training leaves it, of a tiny model with random weights, and pictures to ask it about.
#pragma once

#include <filesystem>
#include <string>

#include "io/base64.hpp"
#include "io/file.hpp"
#include "io/image.hpp"
#include "io/weights/safetensors.hpp"
#include "launch/assembly/assembly.hpp"
#include "launch/config/config.hpp"
#include "support/text.hpp"

namespace skymm::testing {

// Writes config.ini, tokenizer.model and trained.safetensors to `dir`, which exists.
inline void write_tiny_run(const std::string& dir, const std::string& vision = "vit-pico") {
  train_nano_tokenizer(dir + "/tokenizer.model");
  TrainConfig config;
  config.run = {.dir = dir, .seed = 5, .threads = 1, .log_level = "warn"};
  config.model.decoder = "pico";
  config.model.vision = vision;
  config.model.queries = 4;
  config.model.tokenizer = dir + "/tokenizer.model";
  config.model.dtype = "f32";
  config.model.train = {"decoder"};
  config.data.train = {{"none.h5"}};
  config.data.max_length = 2048;
  if (vision == "none") {
    config.train.objective = "text";
  } else {
    config.model.train = {"vision", "resampler", "decoder"};
  }
  write_file(dir + "/config.ini", to_ini(config));
  NamedTensors tensors;
  const Assembly assembly = assemble(config);
  for (const NamedParameter& entry : trainable_parameters(*assembly.model)) {
    tensors.emplace_back(entry.name, entry.parameter->value);
  }
  write_safetensors(dir + "/trained.safetensors", tensors);
}

// A PNG of two colours that follow from `number`.
inline std::string tiny_picture(int number) {
  const auto shade = [&](int i) { return static_cast<std::uint8_t>(number * 67 + i * 91); };
  Image image(40, 30, {shade(0), shade(1), shade(2)});
  for (int y = 5; y < 20; ++y) {
    for (int x = 10; x < 30; ++x) *image.at(x, y) = shade(3);
  }
  return encode_png(image);
}

// A MME folder with en/ and zh/: `pictures` pictures of count (beside their questions) and of scene (in folders of
// their own).
inline void write_tiny_mme(const std::string& dir, int pictures) {
  const auto write = [](const std::string& path, const std::string& bytes) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    write_file(path, bytes);
  };
  for (int i = 0; i < pictures; ++i) {
    const std::string english =
        "Is there a panda? Please answer yes or no.\tYes\nIs there a dumpling? Please answer yes or no.\tNo\n";
    const std::string chinese = "图里有熊猫吗？请回答是或否。\t是\n图里有饺子吗？请回答是或否。\t是\n";
    for (const char* language : {"en", "zh"}) {
      const std::string base = dir + "/" + language, name = std::to_string(i);
      const std::string& questions = language == std::string("en") ? english : chinese;
      write(base + "/count/" + name + ".png", tiny_picture(i));
      write(base + "/count/" + name + ".txt", questions);
      write(base + "/scene/images/" + name + ".png", tiny_picture(i + 100));
      write(base + "/scene/questions_answers_YN/" + name + ".txt", questions);
    }
  }
}

// Tables mmbench_dev_en.tsv and mmbench_dev_cn.tsv of three questions with three options, without rotations.
inline void write_tiny_mmbench(const std::string& dir) {
  std::filesystem::create_directories(dir);
  for (const char* language : {"en", "cn"}) {
    const bool english = language == std::string("en");
    std::string rows = "index\tquestion\thint\tA\tB\tC\tanswer\tcategory\timage\tl2-category\n";
    for (int i = 0; i < 3; ++i) {
      rows += fmt::format("{}\t{}\t{}\t{}\tB\t{}\t{}\t{}\n", i, english ? "What is it?" : "这是什么？",
                          i == 2 ? "\"Two\nlines of a \"\"hint\"\"\"" : "nan",
                          english ? "panda\tdumpling\tkite" : "熊猫\t饺子\t风筝", i == 1 ? "object" : "scene",
                          encode_base64(tiny_picture(i)), i == 0 ? "LR" : "CP");
    }
    write_file(fmt::format("{}/mmbench_dev_{}.tsv", dir, language), rows);
  }
}

// POPE's lines in en/ and zh/, with their pictures in images/: each question of two pictures with both labels.
inline void write_tiny_pope(const std::string& dir) {
  std::filesystem::create_directories(dir + "/images");
  for (const char* language : {"en", "zh"}) {
    std::filesystem::create_directories(fmt::format("{}/{}", dir, language));
    const bool english = language == std::string("en");
    for (const char* split : {"random", "popular"}) {
      std::string lines;
      for (int i = 0; i < 4; ++i) {
        write_file(fmt::format("{}/images/{}.png", dir, i / 2), tiny_picture(i / 2));
        lines += fmt::format(R"({{"question_id": {}, "image": "{}.png", "text": "{}", "label": "{}"}})", i, i / 2,
                             english ? "Is there a kite? Please answer yes or no." : "图里有风筝吗？请回答是或否。",
                             i % 2 == 0 ? "yes" : "no") +
                 "\n";
      }
      write_file(fmt::format("{}/{}/tiny_pope_{}.json", dir, language, split), lines);
    }
  }
}

}  // namespace skymm::testing
