// LLaVA's and LRV-Instruction's arrays; JSON lines, POPE's among them.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "io/byte_stream.hpp"
#include "io/import/entries.hpp"
#include "io/import/record.hpp"
#include "io/json_stream.hpp"

namespace skymm {
namespace {

using nlohmann::json;

template <class Fill>
void read_array(const std::string& input, RecordSink& sink, const Fill& fill) {
  std::int64_t number = -1;
  JsonStreamEvents events;
  events.wants = [&] {
    ++number;
    return sink.wants();
  };
  events.element = [&](json&& entry) {
    Record record{.where = fmt::format("entry {}", number)};
    fill(entry, record);
    return sink.put(std::move(record));
  };
  events.at = [&](std::int64_t byte) { sink.at(byte); };
  const std::string damage = stream_json_array(input, events);
  if (damage.empty() || !sink.wants()) return;
  Record record{.where = number < 0 ? "at its start" : fmt::format("after entry {}", number)};
  record.refuse(Reject::input_damaged, damage);
  sink.put(std::move(record));
}

template <class Fill>
void read_lines(const std::string& input, RecordSink& sink, const Fill& fill) {
  ByteStream file(input);
  std::string line;
  for (std::int64_t number = 1; file.line(line, longest_line); ++number) {
    sink.at(file.position());
    if (line.find_first_not_of(" \t") == std::string::npos || !sink.wants()) continue;
    Record record{.where = fmt::format("line {}", number)};
    const json entry = json::parse(line, nullptr, false);
    if (entry.is_discarded()) {
      record.refuse(Reject::malformed, "the line is not JSON");
    } else {
      fill(entry, record);
    }
    if (!sink.put(std::move(record))) return;
  }
}

}  // namespace

void read_llava(const std::string& input, const ReaderOptions&, RecordSink& sink) {
  read_array(input, sink, [](const json& entry, Record& record) { fill_llava(entry, 0, record); });
}

void read_lrv(const std::string& input, const ReaderOptions&, RecordSink& sink) { read_array(input, sink, fill_lrv); }

void read_jsonl(const std::string& input, const ReaderOptions& options, RecordSink& sink) {
  read_lines(input, sink, [&](const json& entry, Record& record) { fill_line(entry, options.columns, record); });
}

void read_pope(const std::string& input, const ReaderOptions&, RecordSink& sink) { read_lines(input, sink, fill_pope); }

}  // namespace skymm
