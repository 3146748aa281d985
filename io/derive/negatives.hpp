// Image-centred instructions, positive and negative, of pictures whose objects are known: does a thing stand there, in
// which colour, how many, where. Negatives ask about what is not in the picture, which is what cures hallucination;
// each picture gets as many positives, of the same kinds, so that a question alone does not give its answer away.
//
// What is known comes from all samples of the picture: their annotations ({"objects": [{"name_en", "name_zh", "color",
// "x", "y", "w", "h"}]}, all that is there, as the picture book and detectors write them; {"tags": [names]}), and their
// answers, by a vocabulary. Tags and texts leave things out: their negatives are as good as they are complete. A thing
// that any text of the picture names, be it to say that it is missing, is never asked for as an absent one. Texts tell
// a colour or a number only where the phrase is plain ("a red ball", "two dogs", "一个红色的球", "两只狗") and no other
// text of the picture speaks otherwise of the thing; the wrong colour is none that the texts name.
//
// In memory are four bytes a picture, four a picture of a sample, and how often things go together; texts are read
// twice.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace skymm {

struct ObjectName {
  std::string english, chinese;  // Chinese may be empty
};

// A line a thing: English name TAB Chinese name (which may be missing). Throws Error for a file that holds none.
std::vector<ObjectName> read_vocabulary(const std::string& path);

struct NegativesOptions {
  std::string input, output;           // data sets
  std::vector<ObjectName> vocabulary;  // for samples without annotations; may be empty
  std::uint64_t seed = 1;
  int pairs = 3;                        // of a positive and a negative, of each picture at most
  bool english = true, chinese = true;  // a sample of each for a picture, with the same questions
};

struct NegativesResult {
  std::int64_t pictures = 0, samples = 0, without_objects = 0;
  std::map<std::string, std::int64_t>
      turns;  // by kind: "existence positive", "existence adversarial", "count negative", ...
};

// An absent object is drawn, in turn, evenly ("random"), as often as it occurs in the set ("popular"), or as often as
// it stands beside the picture's own objects ("adversarial"). The same seed gives the same set.
NegativesResult build_negatives(const NegativesOptions& options);

}  // namespace skymm
