// Evaluation sets of their own, in the forms of MME, MMBench and POPE, in English and Chinese, of canvases with exact
// truth. Their layouts are held out: no training picture of any picture book has one of them. docs/formats.md lists the
// files. The same options give the same bytes, on any number of threads.
#pragma once

#include <cstdint>
#include <string>

namespace skymm {

constexpr int most_evaluation_pictures = 80'000;  // a table's rows are numbered below MMBench's step of rotations

struct EvaluationSetOptions {
  std::string output;
  std::string cache = "data/packages";  // packages are fetched and unpacked here
  std::string unpacked;                 // a folder with the packages unpacked; then nothing is fetched
  std::uint64_t seed = 1;
  int pictures = 0;    // of each task (MME: in each language); POPE: in all
  bool drawn = false;  // made-up glyphs instead of packages, for tests
};

// All throw Error where a package is missing or the disk is full.

// Nine of MME's tasks, and position again in four grades of difficulty (io/picturebook/position.hpp) as tasks of their
// own. With the same seed the nine tasks begin with the pictures and questions of build_picturebook's mme/.
void build_picturebook_mme(const EvaluationSetOptions& options);

// A table a language, with the same pictures and questions in both, one row a question. The letter of the right option
// is drawn evenly.
void build_picturebook_mmbench(const EvaluationSetOptions& options);

// Three questions about things on a picture and three about others, for each of POPE's settings, with the same pictures
// and questions in both languages. Which things are frequent, and which stand together, is counted on the set's own
// pictures.
void build_picturebook_pope(const EvaluationSetOptions& options);

}  // namespace skymm
