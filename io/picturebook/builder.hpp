// Makes the picture book, a file after the other. picturebook.cpp writes the data sets, evaluation.cpp the questions in
// MME's layout, corpus.cpp the tokenizer's text. evaluation_sets.cpp writes MMBench's and POPE's forms.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "io/dataset.hpp"
#include "io/picturebook/packages.hpp"
#include "io/picturebook/picturebook.hpp"
#include "io/picturebook/position.hpp"

namespace skymm {

// Streams of random numbers: one for each file, so that changing a count moves nothing else.
enum PicturebookStream : std::uint64_t {
  canvas_stream = 1,
  instruction_stream,
  text_stream,
  validation_stream,
  held_out_stream,
  style_stream,
  picture_stream,
  lookup_stream,
  mme_stream = 100,       // two for each task, of English and Chinese
  position_stream = 200,  // the same for each grade
  mmbench_stream = 300,   // one for each task
  pope_stream = 400,
  pope_question_stream
};

constexpr std::array<Language, 2> both_languages = {Language::english, Language::chinese};
// In which files of a language lie.
inline const char* language_folder(Language language) { return language == Language::chinese ? "zh" : "en"; }

struct DrawnScene {
  Scene scene;
  std::string png;
};

// What a folder of an MME set is filled with.
struct MmeSource {
  std::string name;  // the task's
  Language language;
  bool apart = false;        // pictures and questions in folders of their own, as MME has some tasks
  std::uint64_t stream = 0;  // of random numbers
  std::function<Scene(Random&)> scene;
  std::function<std::optional<Question>(const Scene&, Random&, bool answer)> ask;
};

class PicturebookBuilder {
 public:
  explicit PicturebookBuilder(const PicturebookOptions& options);
  void build();
  // In place of build(): one of io/picturebook/evaluation_sets.hpp.
  void build_mme(int pictures);
  void build_mmbench(int pictures);
  void build_pope(int pictures);

 private:
  void load();
  void canvases();
  void extra_pictures(DatasetWriter& writer);
  void instructions();
  void scene_texts();
  void scene_text_set(const std::string& file, int samples, std::uint64_t stream, const TurnOptions& turns);
  void held_out_sets();
  void evaluation();
  // Fills SET/<language>/<task>; returns annotations.jsonl's lines.
  std::string mme_task(const MmeSource& source, const std::string& set, int count);
  void evaluation_manifest(const char* name);
  void corpus();
  void manifest();

  int scaled(int count, int least = 1) const {
    return std::max(least, static_cast<int>(std::lround(count * options_.scale)));
  }
  Random random(std::uint64_t stream, std::int64_t index) const {
    return Random(options_.seed, stream, static_cast<std::uint64_t>(index));
  }
  std::string path(const std::string& name) const { return (std::filesystem::path(options_.output) / name).string(); }
  std::string provenance() const;

  // Makes items 0 .. count-1 in parallel, hands them over in order.
  template <class Make, class Take>
  void ordered(int count, Make&& make, Take&& take) {
    constexpr int chunk = 1024;
    std::vector<decltype(make(0))> made;
    for (int first = 0; first < count; first += chunk) {
      const int n = std::min(chunk, count - first);
      made.clear();
      made.resize(static_cast<std::size_t>(n));
      std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic, 16)
      for (int i = 0; i < n; ++i) {
        try {
          made[static_cast<std::size_t>(i)] = make(first + i);
        } catch (...) {
#pragma omp critical
          failure = std::current_exception();
        }
      }
      if (failure) std::rethrow_exception(failure);
      for (int i = 0; i < n; ++i) take(first + i, made[static_cast<std::size_t>(i)]);
    }
  }

  PicturebookOptions options_;
  PackageFolder packages_;
  std::vector<EmojiInfo> emoji_;
  std::map<char32_t, ImageRgba> pictures_;
  std::optional<Renderer> renderer_, style_;
  std::vector<int> styled_;                           // concepts that the held-out style draws
  std::unordered_set<std::uint64_t> trained_scenes_;  // fingerprints
  std::vector<std::string> captions_;                 // a share, for the corpus
  nlohmann::json counts_ = nlohmann::json::object();
};

// A line of annotations.jsonl: `entry` says which picture, the scene what is on it.
std::string annotation_line(nlohmann::json entry, const Scene& scene);

// Six digits.
inline std::string padded(std::int64_t i) { return fmt::format("{:06}", i); }

// The file appears under its name when it is whole.
void write_whole(const std::filesystem::path& path, const std::string& text);

}  // namespace skymm
