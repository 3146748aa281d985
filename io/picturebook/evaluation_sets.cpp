#include "io/picturebook/evaluation_sets.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/base64.hpp"
#include "io/file.hpp"
#include "io/picturebook/asking.hpp"
#include "io/picturebook/builder.hpp"
#include "io/picturebook/choices.hpp"

namespace skymm {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

PicturebookOptions builder_options(const EvaluationSetOptions& options) {
  check(options.pictures > 0 && options.pictures <= most_evaluation_pictures, "{}: {} pictures; there must be 1 to {}",
        options.output, options.pictures, most_evaluation_pictures);
  return {.output = options.output,
          .cache = options.cache,
          .unpacked = options.unpacked,
          .seed = options.seed,
          .drawn = options.drawn,
          .prose = false};
}

// No training picture has its layout.
template <class Draw>
Scene held_out(Draw&& draw) {
  for (;;) {
    Scene scene = draw();
    if (is_held_out_layout(scene)) return scene;
  }
}

}  // namespace

std::string annotation_line(json entry, const Scene& scene) {
  entry.update(json::parse(annotate(scene)));
  return entry.dump() + '\n';
}

void PicturebookBuilder::evaluation_manifest(const char* name) {
  write_whole(path("manifest.json"), json{{"format", fmt::format("skymm {}", name)},
                                          {"version", 1},
                                          {"seed", options_.seed},
                                          {"canvas", canvas_size},
                                          {"glyphs", options_.drawn ? "drawn" : "packages"},
                                          {"questions", counts_},
                                          {"packages", packages_.versions}}
                                             .dump(2) +
                                         '\n');
}

// ---- MMBench

namespace {

struct ChoiceItem {
  Scene scene;
  std::string png;
  std::array<ChoiceQuestion, 2> questions;  // English, Chinese
};

// As RFC 4180 has it, where tabs separate.
std::string field(const std::string& text) {
  if (text.find_first_of("\"\t\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

std::string table_row(std::int64_t index, const ChoiceTask& task, const ChoiceQuestion& question,
                      const std::string& picture) {
  std::string row = fmt::format("{}\t{}\t", index, field(question.text));
  for (std::size_t i = 0; i < 4; ++i) row += '\t' + (i < question.options.size() ? field(question.options[i]) : "");
  return row + fmt::format("\t{}\t{}\t{}\tpicturebook\t{}\t\tdev\n", static_cast<char>('A' + question.right),
                           task.category, picture, task.l2_category);
}

}  // namespace

void PicturebookBuilder::build_mmbench(int pictures) {
  AtomicFile english(path("mmbench_dev_en.tsv")), chinese(path("mmbench_dev_zh.tsv"));
  for (AtomicFile* table : {&english, &chinese})
    table->write("index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tsource\tl2-category\tcomment\tsplit\n");
  std::string annotations;
  const std::vector<ChoiceTask>& tasks = choice_tasks();
  for (int t = 0; t < std::ssize(tasks); ++t) {
    const ChoiceTask& task = tasks[static_cast<std::size_t>(t)];
    ordered(
        pictures,
        [&](int i) {
          Random r = random(mmbench_stream + static_cast<std::uint64_t>(t), i);
          ChoiceItem item{held_out([&] { return random_scene_for_choice(t, r); })};
          item.png = encode_png(renderer_->render(item.scene));
          for (std::size_t l = 0; l < both_languages.size(); ++l) {
            Random same = r;  // numbers for both languages
            item.questions[l] = *choice_question(item.scene, t, both_languages[l], same);
          }
          return item;
        },
        [&](int i, const ChoiceItem& item) {
          const std::int64_t index = static_cast<std::int64_t>(t) * pictures + i;
          const std::string picture = encode_base64(item.png);
          english.write(table_row(index, task, item.questions[0], picture));
          chinese.write(table_row(index, task, item.questions[1], picture));
          annotations += annotation_line({{"index", index}, {"task", task.name}}, item.scene);
        });
    counts_[std::string(task.name)] = pictures;
  }
  english.commit();
  chinese.commit();
  write_whole(path("annotations.jsonl"), annotations);
  evaluation_manifest("picturebook-mmbench");
  log::info("picturebook-mmbench: {} questions in each language", std::ssize(tasks) * pictures);
}

// ---- POPE

namespace {

constexpr int asked_of_each = 3;  // present and absent things of a picture, as in POPE

constexpr std::array<std::string_view, 3> settings = {"random", "popular", "adversarial"};

// On how many pictures things are, and on how many two of them are together.
struct Statistics {
  std::vector<int> alone;
  std::vector<std::vector<int>> together;

  explicit Statistics(std::size_t concepts) : alone(concepts), together(concepts, std::vector<int>(concepts)) {}
  void add(const Scene& scene) {
    for (const SceneObject& a : scene.objects) {
      ++alone[static_cast<std::size_t>(a.concept_index)];
      for (const SceneObject& b : scene.objects)
        if (&a != &b) ++together[static_cast<std::size_t>(a.concept_index)][static_cast<std::size_t>(b.concept_index)];
    }
  }
  int beside(const Scene& scene, int concept_index) const {
    int sum = 0;
    for (const SceneObject& object : scene.objects)
      sum += together[static_cast<std::size_t>(object.concept_index)][static_cast<std::size_t>(concept_index)];
    return sum;
  }
};

template <class T>
void shuffle(std::vector<T>& values, Random& random) {
  for (int i = static_cast<int>(values.size()) - 1; i > 0; --i)
    std::swap(values[static_cast<std::size_t>(i)], values[static_cast<std::size_t>(random.below(i + 1))]);
}

// Concepts that a picture's questions name, in the order in which a setting takes them.
struct PopeThings {
  std::vector<int> present, absent;
};

// Where neither counts tell two things apart, chance does.
PopeThings things_of(const Scene& scene, std::string_view setting, const Statistics& statistics, Random random) {
  PopeThings things;
  for (int c = 0; c < training_concepts(); ++c) (present(scene, c) ? things.present : things.absent).push_back(c);
  shuffle(things.present, random);
  shuffle(things.absent, random);
  const auto by = [&](auto&& count) { std::ranges::stable_sort(things.absent, std::ranges::greater{}, count); };
  if (setting != "random") by([&](int c) { return statistics.alone[static_cast<std::size_t>(c)]; });
  if (setting == "adversarial") by([&](int c) { return statistics.beside(scene, c); });
  return things;
}

// The lines of picture `number`: yes and no in turn. Labels are English in POPE, whatever the question.
std::string pope_lines(const Scene& scene, int number, Language language, std::string_view setting,
                       const Statistics& statistics, Random random) {
  const PopeThings things = things_of(scene, setting, statistics, random);
  const Asked asked{scene, language == Language::chinese, random};
  std::string lines;
  for (int k = 0; k < 2 * asked_of_each; ++k) {
    const bool yes = k % 2 == 0;
    const SceneObject thing{.concept_index = (yes ? things.present : things.absent)[static_cast<std::size_t>(k / 2)]};
    const Question question = asked.closed(asked.is_there(asked.a(asked.name(thing))), Task::existence, yes);
    const nlohmann::ordered_json line = {{"question_id", 2 * asked_of_each * number + k + 1},
                                         {"image", padded(number) + ".png"},
                                         {"text", question.text},
                                         {"label", yes ? "yes" : "no"}};
    lines += line.dump() + '\n';
  }
  return lines;
}

}  // namespace

void PicturebookBuilder::build_pope(int pictures) {
  fs::create_directories(path("images"));
  std::vector<Scene> scenes;
  std::string annotations;
  Statistics statistics(static_cast<std::size_t>(training_concepts()));
  ordered(
      pictures,
      [&](int i) {
        Random r = random(pope_stream, i);
        SceneOptions options;  // different emoji, and enough of them
        options.text_percent = options.shape_percent = options.counting_percent = 0;
        options.min_objects = asked_of_each;
        DrawnScene item{held_out([&] { return random_scene(r, options); }), {}};
        item.png = encode_png(renderer_->render(item.scene));
        return item;
      },
      [&](int i, const DrawnScene& item) {
        const std::string file = padded(i) + ".png";
        write_whole(fs::path(path("images")) / file, item.png);
        annotations += annotation_line({{"image", file}}, item.scene);
        statistics.add(item.scene);
        scenes.push_back(item.scene);
      });
  for (const Language language : both_languages) {
    const fs::path folder = path(language_folder(language));
    fs::create_directories(folder);
    for (const std::string_view setting : settings) {
      std::string lines;
      for (int i = 0; i < pictures; ++i) {
        lines += pope_lines(scenes[static_cast<std::size_t>(i)], i, language, setting, statistics,
                            random(pope_question_stream, i));
      }
      write_whole(folder / fmt::format("picturebook_pope_{}.json", setting), lines);
      counts_[std::string(setting)] = 2 * asked_of_each * pictures;
    }
  }
  write_whole(path("annotations.jsonl"), annotations);
  evaluation_manifest("picturebook-pope");
  log::info("picturebook-pope: {} pictures, {} questions for each setting and language", pictures,
            2 * asked_of_each * pictures);
}

void build_picturebook_mme(const EvaluationSetOptions& options) {
  PicturebookBuilder(builder_options(options)).build_mme(options.pictures);
}

void build_picturebook_mmbench(const EvaluationSetOptions& options) {
  PicturebookBuilder(builder_options(options)).build_mmbench(options.pictures);
}

void build_picturebook_pope(const EvaluationSetOptions& options) {
  PicturebookBuilder(builder_options(options)).build_pope(options.pictures);
}

}  // namespace skymm
