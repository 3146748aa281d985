#include "io/import/pipeline.hpp"

#include <utility>

namespace skymm {
namespace {

constexpr std::int64_t records_a_block = 256;  // of an input that several ranks share
constexpr std::size_t records_a_batch = 64;
constexpr std::size_t bytes_a_batch = std::size_t{4} << 20, most_waiting_bytes = std::size_t{256} << 20;
constexpr std::size_t most_waiting_batches = 64;

std::size_t bytes_of(const Record& record) {
  std::size_t bytes = 200 + record.sample.annotations.size();
  for (const std::string& image : record.sample.images) bytes += image.size();
  for (const Part& part : record.sample.parts) bytes += part.text.size();
  return bytes;
}

}  // namespace

struct RecordPipeline::Batch {
  std::vector<Record> records;
  std::size_t bytes = 0;
  bool ready = false;
};

class RecordPipeline::Sink final : public RecordSink {
 public:
  explicit Sink(RecordPipeline& to) : to_(to), left_to_skip_(to.skip_) {}

  bool wants() override {
    const std::int64_t block = asked_++ / records_a_block;
    if (block % to_.part_.of != to_.part_.number) return false;
    return left_to_skip_ > 0 ? (--left_to_skip_, false) : true;
  }
  bool put(Record&& record) override {
    if (!batch_) batch_ = std::make_unique<Batch>();
    batch_->bytes += bytes_of(record);
    batch_->records.push_back(std::move(record));
    return batch_->records.size() < records_a_batch && batch_->bytes < bytes_a_batch ? true : flush();
  }
  void at(std::int64_t byte) override { to_.byte_ = byte; }
  bool flush() { return batch_ ? to_.push(std::move(batch_)) : true; }

 private:
  RecordPipeline& to_;
  std::int64_t left_to_skip_, asked_ = 0;
  std::unique_ptr<Batch> batch_;
};

RecordPipeline::RecordPipeline(InputReader read, std::string input, InputPart part, ReaderOptions reader,
                               PrepareOptions prepare, std::int64_t skip, int threads)
    : read_input_(read),
      input_(std::move(input)),
      part_(part),
      reader_options_(std::move(reader)),
      prepare_options_(std::move(prepare)),
      skip_(skip) {
  threads_.emplace_back([this] { this->read(); });
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { prepare_batches(); });
}

RecordPipeline::~RecordPipeline() {
  const std::scoped_lock lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

bool RecordPipeline::push(std::unique_ptr<Batch> batch) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return stopping_ || (waiting_.size() < most_waiting_batches && waiting_bytes_ < most_waiting_bytes);
  });
  if (stopping_) return false;
  waiting_bytes_ += batch->bytes;
  waiting_.push_back(std::move(batch));
  to_prepare_.push_back(waiting_.back());
  changed_.notify_all();
  return true;
}

void RecordPipeline::read() {
  std::exception_ptr error;
  try {
    Sink sink(*this);
    read_input_(input_, reader_options_, sink);
    sink.flush();
  } catch (...) {
    error = std::current_exception();
  }
  const std::scoped_lock lock(mutex_);
  error_ = error;
  read_all_ = true;
  changed_.notify_all();
}

void RecordPipeline::prepare_batches() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || read_all_ || !to_prepare_.empty(); });
    if (stopping_ || to_prepare_.empty()) return;
    const std::shared_ptr<Batch> batch = std::move(to_prepare_.front());
    to_prepare_.pop_front();
    lock.unlock();
    for (Record& record : batch->records) prepare(record, prepare_options_);
    lock.lock();
    batch->ready = true;
    changed_.notify_all();
  }
}

std::optional<Record> RecordPipeline::next() {
  if (!current_ || taken_ == current_->records.size()) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_.empty() ? read_all_ : waiting_.front()->ready; });
    if (waiting_.empty()) {
      if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
      return std::nullopt;
    }
    current_ = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= current_->bytes;
    taken_ = 0;
    changed_.notify_all();
  }
  return std::move(current_->records[taken_++]);
}

}  // namespace skymm
