// `skymm data build picturebook`: a bilingual data set with exact truth, made of Debian packages. docs/formats.md lists
// the files. Everything follows from the seed: the same options give the same bytes, on any number of threads.
#pragma once

#include <cstdint>
#include <string>

#include "io/picturebook/questions.hpp"
#include "io/picturebook/render.hpp"

namespace skymm {

struct PicturebookOptions {
  std::string output = "data/picturebook";
  std::string cache = "data/packages";  // packages are fetched and unpacked here
  std::string unpacked;                 // a folder with the packages unpacked; then nothing is fetched
  std::uint64_t seed = 1;
  double scale = 1;  // multiplies the counts below (evaluation keeps at least 20 pictures a task)

  int canvases = 40'000;      // training pictures of the LVM and stage 1
  int instructions = 20'000;  // stage 2 samples
  int turns = 6;              // questions of a stage 2 sample
  int scene_texts = 100'000;  // text-only samples
  int text_turns = 12;        // questions of a text-only sample
  int look_ups = 60'000;      // text-only samples of look-ups alone, which the LLM learns first
  int validation = 1'000;     // pictures of held-out layouts; as many samples of held-out concepts and style
  int open_percent = 40;      // of training turns that are answered by a word instead of yes or no

  int text_open_percent = 50;  // the same of text-only samples

  int eval_pictures = 300;        // of existence, count, position and color in each language, two questions each
  int eval_pictures_other = 250;  // of the other tasks
  bool negatives = true;          // false: stage 2 keeps no question about what is not there (for comparison)
  bool drawn = false;             // made-up glyphs instead of packages: a small stand-in for tests
  bool prose = true;              // fortunes-zh in corpus.txt
};

// Writes the data set; progress by log::info. Throws Error where a package is missing, an option makes no sense or the
// disk is full; files appear under their names only when whole.
void build_picturebook(const PicturebookOptions& options);

// "Describe the picture.": what a caption answers.
std::string_view describe_request(Language language);

// Samples as the builder makes them, for recipes that draw scenes on the fly.
Sample caption_sample(const Scene& scene, const std::string& png, Language language, std::string id);
struct TurnOptions {
  int turns = 6;
  int open_percent = 30;
  bool negatives = true;
  int describe_percent = 0;        // text only: samples that begin with a request to describe the scene
  int other_language_percent = 0;  // text only: scenes told in the other language
  // Only "Is there a panda?" and, for the open ones, "Where is the panda?", none twice: a name must be found again.
  bool look_ups = false;
};
// Picture, then question and answer in turn, tasks drawn among those the scene offers; a question comes twice only
// where the scene offers no other.
Sample instruction_sample(const Scene& scene, const std::string& png, Language language, Random& random, std::string id,
                          const TurnOptions& options);
// The same with the scene's description in place of the picture.
Sample scene_text_sample(const Scene& scene, Language language, Random& random, std::string id,
                         const TurnOptions& options);
// A scene of training: its layout is not held out; its task is drawn, so that every kind of question occurs.
Scene training_scene(Random& random);

}  // namespace skymm
