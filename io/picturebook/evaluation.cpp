// Questions about held-out pictures, in MME's layout: the evaluation set of the picture book, and picturebook-mme.
#include <array>
#include <filesystem>

#include "core/log.hpp"
#include "io/picturebook/builder.hpp"

namespace skymm {

namespace fs = std::filesystem;

namespace {

struct EvaluationItem {
  Scene scene;
  std::string png;
  std::array<Question, 2> questions;
};

bool is_chinese(Language language) { return language == Language::chinese; }

MmeSource mme_source(Task task, Language language) {
  return {.name = std::string(task_names[static_cast<std::size_t>(task)]),
          .language = language,
          .apart = task == Task::scene,
          .stream = mme_stream + static_cast<std::uint64_t>(task) * 2 + is_chinese(language),
          .scene =
              [task](Random& random) {
                SceneOptions options;
                if (task == Task::existence) options.min_objects = 2, options.counting_percent = 0;
                return random_scene_for(task, random, options);
              },
          .ask = [task, language](const Scene& scene, Random& random,
                                  bool answer) { return yes_no_question(scene, task, language, random, answer); }};
}

MmeSource mme_source(PositionGrade grade, Language language) {
  return {.name = std::string(position_grade_names[static_cast<std::size_t>(grade)]),
          .language = language,
          .stream = position_stream + static_cast<std::uint64_t>(grade) * 2 + is_chinese(language),
          .scene = [grade](Random& random) { return random_scene_for(grade, random); },
          .ask = [grade, language](const Scene& scene, Random& random,
                                   bool answer) { return yes_no_question(scene, grade, language, random, answer); }};
}

}  // namespace

std::string PicturebookBuilder::mme_task(const MmeSource& source, const std::string& set, int count) {
  const bool chinese = is_chinese(source.language);
  const std::string name = fmt::format("{}/{}", language_folder(source.language), source.name);
  const fs::path folder = fs::path(set) / name;
  fs::remove_all(folder);  // pictures of an earlier, larger build would be asked as well
  const fs::path images = source.apart ? folder / "images" : folder,
                 texts = source.apart ? folder / "questions_answers_YN" : folder;
  fs::create_directories(images);
  fs::create_directories(texts);
  std::string annotations;
  ordered(
      count,
      [&](int i) {
        Random r = random(source.stream, i);
        // Both answers come first, then a scene with two different questions for them: neither gives the other away.
        const bool answers[2] = {r.coin(), r.coin()};
        for (;;) {
          const Scene scene = source.scene(r);
          if (!is_held_out_layout(scene) || trained_scenes_.contains(scene_fingerprint(scene))) continue;
          const auto first = source.ask(scene, r, answers[0]);
          auto second = source.ask(scene, r, answers[1]);
          for (int attempt = 0; attempt < 20 && first && second && first->text == second->text; ++attempt)
            second = source.ask(scene, r, answers[1]);
          if (!first || !second || first->text == second->text) continue;
          return EvaluationItem{scene, encode_png(renderer_->render(scene)), {*first, *second}};
        }
      },
      [&](int i, const EvaluationItem& item) {
        const std::string file = padded(i) + ".png";
        write_whole(images / file, item.png);
        std::string lines;
        for (const Question& question : item.questions) {
          const std::string answer = chinese ? question.answer : question.answer == "yes" ? "Yes" : "No";
          lines += question.text + '\t' + answer + '\n';
        }
        write_whole(texts / (padded(i) + ".txt"), lines);
        annotations +=
            annotation_line({{"image", fmt::format("{}/{}{}", name, source.apart ? "images/" : "", file)}}, item.scene);
      });
  return annotations;
}

void PicturebookBuilder::evaluation() {
  for (const Language language : both_languages) {
    for (int t = 0; t < task_count; ++t) {
      const auto task = static_cast<Task>(t);
      const int count = scaled(task <= Task::color ? options_.eval_pictures : options_.eval_pictures_other, 20);
      const MmeSource source = mme_source(task, language);
      mme_task(source, path("mme"), count);
      counts_["mme"][language_folder(language)][source.name] = count * 2;
    }
  }
  log::info("picture book: evaluation sets in MME's layout");
}

void PicturebookBuilder::build_mme(int pictures) {
  std::string annotations;
  for (const Language language : both_languages) {
    const auto add = [&](const MmeSource& source) {
      annotations += mme_task(source, options_.output, pictures);
      counts_[language_folder(language)][source.name] = pictures * 2;
    };
    for (int task = 0; task < task_count; ++task) add(mme_source(static_cast<Task>(task), language));
    for (int grade = 0; grade < position_grade_count; ++grade)
      add(mme_source(static_cast<PositionGrade>(grade), language));
    log::info("picturebook-mme: {} pictures a task, {}", pictures, language_folder(language));
  }
  write_whole(path("annotations.jsonl"), annotations);
  evaluation_manifest("picturebook-mme");
}

}  // namespace skymm
