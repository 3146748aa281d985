// Makes the micro-batches of each step on background threads, ahead of the trainer.
//
// Step s trains on the places [s B, (s + 1) B) of the mixture (or, after a seek, on those from another place on),
// whatever the number of ranks: the places are dealt to
// ranks x micro-batches by their cost, the length of text and pictures (Balance). The deal follows from the places and
// the data set's index alone, so every rank makes it by itself. A bad sample leaves a hole: no other takes its place,
// it is counted by reason and logged once.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "io/batch.hpp"
#include "io/pixels.hpp"
#include "io/prompt.hpp"
#include "io/sampler.hpp"

namespace skymm {

// How a global batch is dealt to ranks and micro-batches. It never changes what is learnt: a micro-batch is one packed
// sequence in which samples do not see each other, and the loss is a sum over the global batch.
enum class Balance : std::uint8_t {
  none,     // one after the other: as many samples each, to one
  samples,  // as many samples each, to one, and with that as even a cost as can be
  cost,     // as even a cost as can be: many short samples, or few long ones
};

struct LoaderOptions {
  std::int64_t global_batch = 32;              // samples of a step, over all ranks
  std::int64_t micro_batch = 4;                // most samples of a micro-batch
  int rank = 0, ranks = 1;                     // data parallel
  std::uint64_t seed = 0;                      // of augmentation and the choice of negatives; the mixture has its own
  bool augment = true;                         // off for validation
  bool wrap = true;                            // false: stop after one pass; later places are empty, not holes
  std::unordered_set<std::string> quarantine;  // ids of samples that are left out
  double negative_share = 1.0;                 // of turns about what is not in the picture
  Balance balance = Balance::samples;
  double image_cost = 0;              // of a picture before its visual tokens, in text tokens: the vision model's work
  double max_bad_share = 0.05;        // of the samples seen; more is an Error ...
  std::int64_t bad_share_after = 64;  // ... once so many were seen
  int threads = 1;
  int prefetch = 3;                                     // steps ahead ...
  std::int64_t prefetch_bytes = std::int64_t{1} << 30;  // ... of pictures of no more than this, but one step always
};

// Deals items of the given costs to bins. Returns the items of each bin, ascending. Where costs are looked at, the
// dearest are dealt first, each to the cheapest bin that has room; ties by number. No bin stays empty where there are
// as many items.
std::vector<std::vector<std::int32_t>> deal(const std::vector<std::int64_t>& costs, std::int64_t bins,
                                            Balance balance = Balance::samples);

class Loader {
 public:
  Loader(std::shared_ptr<const Mixture> mixture, PromptBuilder prompts, const ImageSpec& images,
         const LoaderOptions& options, PixelReader read_pixels = load_pixels);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The next step's micro-batches; waits for them. Throws Error where too many samples are bad.
  MicroBatches next();
  // next() gives this step, exactly as if the ones before had been asked for. `place`: of its first sample; step B
  // where the global batch was never another.
  void seek(std::int64_t step, std::int64_t place);
  void seek(std::int64_t step) { seek(step, step * options_.global_batch); }

  std::int64_t step() const { return next_step_; }               // that next() gives
  std::int64_t micro_batches() const { return micro_batches_; }  // of a step
  std::int64_t steps_per_pass() const;                   // over all samples; the last may be partly empty (wrap off)
  double waited_seconds() const { return waited_; }      // by next(), since the start: what data cost the trainer
  const BatchCounts& totals() const { return totals_; }  // of this rank, since the start

 private:
  struct Job;
  struct Prepared;

  void work(const std::stop_token& stop);
  std::shared_ptr<Job> find_job();
  void plan(Job& job) const;
  Prepared prepare(const Job& job, std::int32_t position) const;
  static void append(MicroBatch& batch, Prepared&& sample);
  void assemble(Job& job) const;
  void count(const Job& job);

  const std::shared_ptr<const Mixture> mixture_;
  const PromptBuilder prompts_;
  const ImageSpec images_;
  const LoaderOptions options_;
  const PixelReader read_pixels_;
  const std::int64_t micro_batches_;
  const std::size_t steps_ahead_;

  std::mutex mutex_;  // of the jobs
  std::condition_variable_any changed_;
  std::deque<std::shared_ptr<Job>> jobs_;  // ascending steps, from next_step_
  std::int64_t next_planned_ = 0, next_place_ = 0;

  std::int64_t next_step_ = 0;
  double waited_ = 0;
  BatchCounts totals_;
  std::unordered_set<std::string> reported_;
  std::vector<std::jthread> threads_;  // last: they stop before the rest goes
};

}  // namespace skymm
