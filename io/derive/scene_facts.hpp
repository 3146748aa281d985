// What is known of a picture, and how the things of a whole set go together.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "io/derive/negatives.hpp"
#include "io/sample.hpp"

namespace skymm {

struct KnownObject {
  int thing = 0;  // into the vocabulary
  std::string colour;
  std::optional<std::array<double, 4>> box;  // x, y, w, h
};

struct SceneFacts {
  std::vector<KnownObject> objects;
  bool complete = false;  // every object is listed, once for each time it is there
  int count(int thing) const;
};

// Names that grow as annotations bring new ones.
class Vocabulary {
 public:
  explicit Vocabulary(const std::vector<ObjectName>& names);
  int size() const { return static_cast<int>(names_.size()); }
  const ObjectName& name(int thing) const { return names_[static_cast<std::size_t>(thing)]; }
  // Of annotations, else of the texts. Never throws for what a sample holds.
  SceneFacts facts_of(const Sample& sample);

 private:
  int add(const ObjectName& name);
  void find_in(const std::string& text, SceneFacts& facts) const;

  std::vector<ObjectName> names_;
  std::map<std::string, int> by_name_;
  int searched_ = 0;  // the first so many are looked for in texts
};

// How often things occur, and occur together, over pictures.
class Occurrence {
 public:
  void add(const SceneFacts& facts);
  // A thing that the picture lacks; none where it has all. how: 0 random, 1 popular, 2 adversarial.
  std::optional<int> absent(const SceneFacts& facts, int how, RandomStream& random) const;

 private:
  std::map<int, std::int64_t> alone_;
  std::map<int, std::map<int, std::int64_t>> beside_;
};

}  // namespace skymm
