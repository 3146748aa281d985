// Records of one input on their way through threads: a thread reads, several prepare, the caller takes them in the
// input's order. What waits is bounded in bytes.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "io/import/prepare.hpp"
#include "io/import/record.hpp"

namespace skymm {

// Which records of an input: every `of`-th block of 256, from the `number`-th on.
struct InputPart {
  std::int64_t number = 0, of = 1;
};

class RecordPipeline {
 public:
  // skip: records at the start of the part that are passed over.
  RecordPipeline(InputReader read, std::string input, InputPart part, ReaderOptions reader, PrepareOptions prepare,
                 std::int64_t skip, int threads);
  ~RecordPipeline();
  RecordPipeline(const RecordPipeline&) = delete;
  RecordPipeline& operator=(const RecordPipeline&) = delete;

  // The next record, prepared; nothing after the last. Rethrows what stopped the reader.
  std::optional<Record> next();
  std::int64_t byte() const { return byte_; }  // of the input, read so far

 private:
  struct Batch;
  class Sink;

  void read();
  void prepare_batches();
  bool push(std::unique_ptr<Batch> batch);

  const InputReader read_input_;
  const std::string input_;
  const InputPart part_;
  const ReaderOptions reader_options_;
  const PrepareOptions prepare_options_;
  const std::int64_t skip_;
  std::atomic<std::int64_t> byte_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Batch>> waiting_;  // in the input's order, prepared or not
  std::deque<std::shared_ptr<Batch>> to_prepare_;
  std::size_t waiting_bytes_ = 0;
  bool read_all_ = false, stopping_ = false;
  std::exception_ptr error_;

  std::shared_ptr<Batch> current_;  // that next() takes from
  std::size_t taken_ = 0;
  std::vector<std::jthread> threads_;  // last: they end before the rest goes
};

}  // namespace skymm
