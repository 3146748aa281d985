// What is known of a picture, and how the things of a whole set go together.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "io/derive/mentions.hpp"
#include "io/derive/negatives.hpp"
#include "io/sample.hpp"

namespace skymm {

struct KnownObject {
  int thing = 0;                             // into the vocabulary
  std::string colour;                        // "": not known
  int number = 0;                            // of this thing, as texts tell it; 0: not told
  std::optional<std::array<double, 4>> box;  // x, y, w, h
};

struct SceneFacts {
  std::vector<KnownObject> objects;  // what is there
  bool complete = false;             // every object is listed, once for each time it is there
  std::set<int> named;               // what texts name in any way: it may be there
  std::set<std::string> colours;     // that texts name, where not all is listed: anything may have them
  int count(int thing) const;        // among the objects
  bool may_hold(int thing) const { return count(thing) > 0 || named.contains(thing); }
};

// Names that grow as annotations bring new ones.
class Vocabulary {
 public:
  explicit Vocabulary(const std::vector<ObjectName>& names);
  int size() const { return static_cast<int>(names_.size()); }
  const ObjectName& name(int thing) const { return names_[static_cast<std::size_t>(thing)]; }
  // The thing of this name, in either language; a new one, or a thing's name in the language that it lacked.
  int add(const ObjectName& name);
  const MentionFinder& texts() const { return texts_; }  // of the names that it began with

 private:
  std::vector<ObjectName> names_;
  std::map<std::string, int> by_name_;  // in lower case
  MentionFinder texts_;
};

// Gathers what the samples of one picture say of it. Objects of annotations are all that is there, unless two samples
// list others; a sample's tags and answers tell of some. Of what is asked, or told of what is not there, or of several
// pictures, it is only known that it was named.
class SceneReader {
 public:
  explicit SceneReader(Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  void add(const Sample& sample);  // never throws for what a sample holds
  SceneFacts facts() const;

 private:
  // Of a thing that texts name.
  struct Told {
    bool there = false, as_one = true, as_several = true;  // as in Mention, of all of them
    std::string colour;
    int number = 0;
  };
  void add_objects(const std::string& list);
  void add_text(const std::string& text, bool certain, bool plain);

  Vocabulary& vocabulary_;
  std::string objects_;  // JSON: the list of the first sample that has one
  std::vector<KnownObject> listed_;
  bool lists_differ_ = false;
  std::map<int, Told> told_;
  std::set<std::string> colours_;
};

// How often things occur, and occur together, over pictures.
class Occurrence {
 public:
  void add(const SceneFacts& facts);
  // A thing that the picture lacks; none where it has all, or may have. how: 0 random, 1 popular, 2 adversarial.
  std::optional<int> absent(const SceneFacts& facts, int how, RandomStream& random) const;

 private:
  std::map<int, std::int64_t> alone_;
  std::map<int, std::map<int, std::int64_t>> beside_;
};

}  // namespace skymm
