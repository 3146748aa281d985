// What is true of a canvas: it is known only by its annotations, a question only by its text.
#pragma once

#include <string>
#include <vector>

namespace skymm::testing {

class SceneTruth {
 public:
  explicit SceneTruth(const std::string& annotations);

  // Of a yes/no question in either language; a failed test where it is of no known form.
  bool holds(const std::string& question) const;
  // The options of a multiple-choice question that answer it.
  std::vector<std::string> right(const std::string& question, const std::vector<std::string>& options) const;

 private:
  struct Seen {
    std::string concept_en, concept_zh, color;  // color: English, shapes only
    double x, y, w, h;                          // corner and size
    double centre_x() const { return x + w / 2; }
    double centre_y() const { return y + h / 2; }
  };

  bool matches(const Seen& seen, const std::string& name) const;
  const Seen* find(const std::string& name) const;
  int count(const std::string& name) const;
  bool there_is(std::string name) const;
  bool property(const std::string& phrase) const;
  template <class Test>
  bool any_concept(Test&& test) const;
  bool related(const Seen* a, const Seen* b, const std::string& relation) const;
  bool between(const Seen* middle, const Seen* a, const Seen* b) const;
  bool in_quarter(const Seen* seen, const std::string& quarter) const;
  bool answers(const std::string& question, const std::string& option, const std::vector<std::string>& options) const;
  int sum() const;
  bool translates(const std::string& word) const;

  std::vector<Seen> seen_;
  std::string text_;
};

}  // namespace skymm::testing
