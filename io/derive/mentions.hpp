// How texts name the things of a vocabulary: which of them they say are there, and what they say plainly of a thing's
// colour and number. What is not plain is left alone, since questions are made of it whose answers have to be true.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "io/derive/negatives.hpp"

namespace skymm {

struct Mention {
  int thing = 0;       // into the vocabulary
  bool there = false;  // its sentence says so, without "no", "or", "may", "like" or their kind
  // It may speak of a single thing ("a ball", "the ball"), or of several ("two dogs", "both dogs"). Neither where other
  // words stand around it ("some dogs", "a ball game", "two of six dogs"), so that nothing more is known of the thing.
  bool as_one = false, as_several = false;
  bool introduces = false;  // "a ball", "two dogs": another one than was named before, unlike "the ball"
  std::string colour;       // of colour_words: "a red ball", "一个红色的球"; "" where none is told
  int number = 0;           // "two dogs", "两只狗"; 0 where none is told
};

// Finds names of one or several words as whole words, in the singular and plural; Chinese ones as characters. Of names
// that lie within one another ("hot dog", "dog") only the longest counts. Upper and lower case are alike.
class MentionFinder {
 public:
  explicit MentionFinder(const std::vector<ObjectName>& names);
  std::vector<Mention> find(std::string_view text) const;  // in no particular order

 private:
  struct Form {
    int thing = 0;
    std::vector<std::string> before;  // the words in front of the last one
    bool singular = false, plural = false;
  };
  // there: of Mention. plain: what stands around a name is read too.
  void find_english(const std::vector<std::string>& words, bool there, bool plain, std::vector<Mention>& to) const;
  void find_chinese(std::string_view sentence, bool there, bool plain, std::vector<Mention>& to) const;

  std::unordered_map<std::string, std::vector<Form>> forms_;  // by their last word
  std::vector<std::pair<int, std::string>> chinese_;          // thing, name
};

// The colours that a text names, of colour_words, whatever has them; also by words close to them ("golden", "粉红").
std::set<std::string> colours_named(std::string_view text);

}  // namespace skymm
