// Questions about held-out pictures, in MME's layout.
#include <array>
#include <filesystem>

#include "core/log.hpp"
#include "io/picturebook/builder.hpp"

namespace skymm {

namespace fs = std::filesystem;

namespace {

struct EvaluationItem {
  std::string png;
  std::array<Question, 2> questions;
};

}  // namespace

// MME's own layout: these tasks keep pictures and questions apart, the others together.
void PicturebookBuilder::evaluation_task(Task task, Language language) {
  const bool chinese = language == Language::chinese, apart = task == Task::scene;
  const std::string name(task_names[static_cast<std::size_t>(task)]);
  const fs::path folder = fs::path(options_.output) / "mme" / (chinese ? "zh" : "en") / name;
  fs::remove_all(folder);  // pictures of an earlier, larger build would be asked as well
  const fs::path images = apart ? folder / "images" : folder, texts = apart ? folder / "questions_answers_YN" : folder;
  fs::create_directories(images);
  fs::create_directories(texts);
  const bool main = task <= Task::color;
  const int count = scaled(main ? options_.eval_pictures : options_.eval_pictures_other, 20);
  const std::uint64_t stream = mme_stream + static_cast<std::uint64_t>(task) * 2 + chinese;
  ordered(
      count,
      [&](int i) {
        Random r = random(stream, i);
        // Both answers come first, then a scene with two different questions for them: neither gives the other away.
        const bool answers[2] = {r.coin(), r.coin()};
        SceneOptions options;
        if (task == Task::existence) options.min_objects = 2, options.counting_percent = 0;
        for (;;) {
          const Scene scene = random_scene_for(task, r, options);
          if (!is_held_out_layout(scene) || trained_scenes_.contains(scene_fingerprint(scene))) continue;
          const auto first = yes_no_question(scene, task, language, r, answers[0]);
          auto second = yes_no_question(scene, task, language, r, answers[1]);
          for (int attempt = 0; attempt < 20 && first && second && first->text == second->text; ++attempt)
            second = yes_no_question(scene, task, language, r, answers[1]);
          if (!first || !second || first->text == second->text) continue;
          return EvaluationItem{encode_png(renderer_->render(scene)), {*first, *second}};
        }
      },
      [&](int i, const EvaluationItem& item) {
        write_whole(images / (padded(i) + ".png"), item.png);
        std::string lines;
        for (const Question& question : item.questions) {
          const std::string answer = chinese ? question.answer : question.answer == "yes" ? "Yes" : "No";
          lines += question.text + '\t' + answer + '\n';
        }
        write_whole(texts / (padded(i) + ".txt"), lines);
      });
  counts_["mme"][chinese ? "zh" : "en"][name] = count * 2;
}

void PicturebookBuilder::evaluation() {
  for (const Language language : {Language::english, Language::chinese})
    for (int task = 0; task < task_count; ++task) evaluation_task(static_cast<Task>(task), language);
  log::info("picture book: evaluation sets in MME's layout");
}

}  // namespace skymm
