// What an import makes of an input: each record is prepared, and is then a sample that can be stored or has a reason.
#pragma once

#include <cstdlib>

#include "io/dataset_format.hpp"
#include "io/import/prepare.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace skymm::fuzz {

class RecordJudge final : public RecordSink {
 public:
  bool wants() override { return true; }
  void at(std::int64_t) override {}
  bool put(Record&& record) override {
    prepare(record, {.images = "/nonexistent"});
    if (record.reject == Reject::none) {
      encode_conversation(record.sample);
    } else if (record.detail.empty()) {
      std::abort();
    }
    return true;
  }
};

inline void import_input(InputReader read, std::string_view bytes) {
  const InputFile file(bytes);
  RecordJudge judge;
  read_or_refuse([&] { read(file.path(), {}, judge); });
}

}  // namespace skymm::fuzz
