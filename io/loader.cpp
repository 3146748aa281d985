#include "io/loader.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <numeric>
#include <queue>
#include <utility>

#include "core/error.hpp"
#include "core/log.hpp"

namespace skymm {

std::int64_t BatchCounts::bad() const {
  return std::accumulate(skipped.begin(), skipped.end(), std::int64_t{0}) -
         skipped[static_cast<std::size_t>(Skip::filtered)];
}

BatchCounts& BatchCounts::operator+=(const BatchCounts& other) {
  samples += other.samples, tokens += other.tokens, label_tokens += other.label_tokens, images += other.images;
  for (std::size_t i = 0; i < skipped.size(); ++i) skipped[i] += other.skipped[i];
  for (std::size_t i = 0; i < languages.size(); ++i) languages[i] += other.languages[i];
  for (std::size_t i = 0; i < polarities.size(); ++i) polarities[i] += other.polarities[i];
  turns_cut += other.turns_cut, answers_cut += other.answers_cut, turns_dropped += other.turns_dropped;
  return *this;
}

std::vector<std::vector<std::int32_t>> deal(const std::vector<std::int64_t>& costs, std::int64_t bins,
                                            Balance balance) {
  const auto n = static_cast<std::int64_t>(costs.size());
  std::vector<std::int32_t> order(costs.size());
  std::iota(order.begin(), order.end(), 0);
  std::vector<std::vector<std::int32_t>> dealt(static_cast<std::size_t>(bins));
  if (balance == Balance::none) {
    for (std::int64_t i = 0, bin = 0; bin < bins; ++bin) {
      const std::int64_t end = i + n / bins + (bin < n % bins ? 1 : 0);
      for (; i < end; ++i) dealt[static_cast<std::size_t>(bin)].push_back(order[static_cast<std::size_t>(i)]);
    }
    return dealt;
  }
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return costs[static_cast<std::size_t>(a)] > costs[static_cast<std::size_t>(b)];
  });
  using Bin = std::pair<std::int64_t, std::int64_t>;  // cost so far, number
  std::priority_queue<Bin, std::vector<Bin>, std::greater<>> open;
  const auto room = [&](std::int64_t bin) {
    return balance == Balance::cost ? n : n / bins + (bin < n % bins ? 1 : 0);
  };
  for (std::int64_t bin = 0; bin < bins; ++bin) {
    if (room(bin) > 0) open.emplace(0, bin);
  }
  for (const std::int32_t item : order) {
    const auto [cost, bin] = open.top();
    open.pop();
    auto& items = dealt[static_cast<std::size_t>(bin)];
    items.push_back(item);
    if (static_cast<std::int64_t>(items.size()) < room(bin)) {
      open.emplace(cost + std::max<std::int64_t>(costs[static_cast<std::size_t>(item)], 1), bin);
    }
  }
  for (auto& items : dealt) std::sort(items.begin(), items.end());
  return dealt;
}

// A sample, ready to be put into a micro-batch.
struct Loader::Prepared {
  std::string id;
  std::int32_t position = 0;
  TokenizedSample text;
  std::vector<float> pixels;
  int turns_dropped = 0;
  Language language = Language::none;
  std::array<std::int64_t, 3> polarities{};  // answers of each Polarity
};

// One step in the making. Its plan is made by one thread, its samples by any; the last of these puts them together.
struct Loader::Job {
  std::int64_t step = 0, place = 0;                // of its first sample
  std::vector<std::vector<std::int32_t>> batches;  // positions, of each micro-batch of this rank
  std::vector<std::pair<std::size_t, std::size_t>> items;
  std::vector<std::vector<Prepared>> prepared;
  std::size_t taken = 0, done = 0;
  bool planned = false, ready = false;
  MicroBatches result;
  std::vector<Prepared> holes;
  std::exception_ptr error;
};

namespace {

// Steps that are made ahead, where every sample has one picture.
std::size_t steps_ahead(const LoaderOptions& options, const ImageSpec& images) {
  check(options.threads > 0 && options.prefetch > 0, "the loader needs at least one thread and one step ahead");
  const std::int64_t picture = std::int64_t{3} * images.size * images.size * std::int64_t{sizeof(float)};
  const std::int64_t step = std::max<std::int64_t>(options.global_batch / options.ranks * picture, 1);
  return static_cast<std::size_t>(std::clamp<std::int64_t>(options.prefetch_bytes / step, 1, options.prefetch));
}

std::int64_t batches_of_step(const LoaderOptions& options) {
  check(options.global_batch > 0 && options.micro_batch > 0, "global_batch {} and micro_batch {} must be positive",
        options.global_batch, options.micro_batch);
  check(0 <= options.rank && options.rank < options.ranks, "rank {} of {} does not exist", options.rank, options.ranks);
  const std::int64_t each = options.micro_batch * options.ranks;
  return (options.global_batch + each - 1) / each;
}

}  // namespace

Loader::Loader(std::shared_ptr<const Mixture> mixture, PromptBuilder prompts, const ImageSpec& images,
               const LoaderOptions& options, PixelReader read_pixels)
    : mixture_(std::move(mixture)),
      prompts_(std::move(prompts)),
      images_(images),
      options_(options),
      read_pixels_(std::move(read_pixels)),
      micro_batches_(batches_of_step(options)),
      steps_ahead_(steps_ahead(options, images)) {
  for (int i = 0; i < options_.threads; ++i) {
    threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }
}

Loader::~Loader() {
  for (auto& thread : threads_) thread.request_stop();
}

std::int64_t Loader::steps_per_pass() const {
  return (mixture_->size() + options_.global_batch - 1) / options_.global_batch;
}

void Loader::seek(std::int64_t step, std::int64_t place) {
  check(step >= 0 && place >= 0, "step {} at place {} does not exist", step, place);
  const std::lock_guard lock(mutex_);
  jobs_.clear();  // threads that still work on them drop what they made
  next_step_ = next_planned_ = step;
  next_place_ = place;
  changed_.notify_all();
}

MicroBatches Loader::next() {
  const auto start = std::chrono::steady_clock::now();
  std::shared_ptr<Job> job;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !jobs_.empty() && jobs_.front()->ready; });
    job = std::move(jobs_.front());
    jobs_.pop_front();
    ++next_step_;
    changed_.notify_all();
  }
  waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (job->error) std::rethrow_exception(job->error);
  count(*job);
  return std::move(job->result);
}

void Loader::count(const Job& job) {
  totals_ += job.result.counts;
  for (const Prepared& hole : job.holes) {
    if (hole.text.skip == Skip::filtered || !reported_.insert(hole.id).second) continue;
    log::warn("sample {} is left out ({}): {}", hole.id, name_of(hole.text.skip), hole.text.detail);
  }
  const std::int64_t bad = totals_.bad(), seen = totals_.samples + bad;
  if (seen < options_.bad_share_after ||
      static_cast<double>(bad) <= options_.max_bad_share * static_cast<double>(seen)) {
    return;
  }
  std::string reasons;
  for (std::size_t i = 0; i < totals_.skipped.size(); ++i) {
    const auto reason = static_cast<Skip>(i);
    if (totals_.skipped[i] == 0 || reason == Skip::filtered) continue;
    reasons += fmt::format("{}{} {}", reasons.empty() ? "" : ", ", totals_.skipped[i], name_of(reason));
  }
  fail(
      "{} of {} samples are bad ({}), more than the share of {} that is let pass; repair the data, raise "
      "data.max_bad_share{}",
      bad, seen, reasons, options_.max_bad_share,
      totals_.skipped[static_cast<std::size_t>(Skip::too_long)] > 0 ? ", or let samples be longer (data.max_length)"
                                                                    : "");
}

// Under the lock: a job with samples to make, or a new one to plan; null where all is done.
std::shared_ptr<Loader::Job> Loader::find_job() {
  for (const auto& job : jobs_) {
    if (job->planned && job->taken < job->items.size()) return job;
  }
  if (jobs_.size() >= steps_ahead_) return nullptr;
  jobs_.push_back(std::make_shared<Job>());
  jobs_.back()->step = next_planned_++;
  jobs_.back()->place = std::exchange(next_place_, next_place_ + options_.global_batch);
  return jobs_.back();
}

void Loader::work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  std::shared_ptr<Job> job;
  const auto finish_if_done = [&] {
    if (job->done < job->items.size()) return;
    lock.unlock();
    try {
      if (!job->error) assemble(*job);
    } catch (...) {
      job->error = std::current_exception();
    }
    lock.lock();
    job->ready = true;
  };
  while (changed_.wait(lock, stop, [&] { return (job = find_job()) != nullptr; }) && !stop.stop_requested()) {
    std::exception_ptr error;
    if (!job->planned) {
      lock.unlock();
      try {
        plan(*job);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      job->planned = true;
    } else {
      const auto [batch, slot] = job->items[job->taken++];
      lock.unlock();
      try {
        job->prepared[batch][slot] = prepare(*job, job->batches[batch][slot]);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      ++job->done;
    }
    if (error) job->error = error;
    finish_if_done();
    changed_.notify_all();
  }
}

void Loader::plan(Job& job) const {
  const std::int64_t first = job.place;
  const std::int64_t places = options_.wrap
                                  ? options_.global_batch
                                  : std::clamp<std::int64_t>(mixture_->size() - first, 0, options_.global_batch);
  std::vector<std::int64_t> costs(static_cast<std::size_t>(places));
  for (std::int64_t i = 0; i < places; ++i) {
    const Draw draw = mixture_->at(first + i);
    const SampleSource::Extent extent = mixture_->source(draw.source).extent(draw.index);
    // About three bytes of either language make a token.
    const double of_image = prompts_.options().visual_tokens + options_.image_cost;
    costs[static_cast<std::size_t>(i)] = extent.text_bytes / 3 + std::llround(extent.images * of_image);
  }
  auto bins = deal(costs, micro_batches_ * options_.ranks, options_.balance);
  for (std::int64_t m = 0; m < micro_batches_; ++m) {
    job.batches.push_back(std::move(bins[static_cast<std::size_t>(m * options_.ranks + options_.rank)]));
    job.prepared.emplace_back(job.batches.back().size());
    for (std::size_t slot = 0; slot < job.batches.back().size(); ++slot) {
      job.items.emplace_back(static_cast<std::size_t>(m), slot);
    }
  }
}

Loader::Prepared Loader::prepare(const Job& job, std::int32_t position) const {
  const Draw draw = mixture_->at(job.place + position);
  Prepared out;
  out.position = position;
  out.id = fmt::format("{} of data set {}", draw.index, draw.source);
  const auto hole = [&](Skip skip, std::string detail) {
    out.text = {.skip = skip, .detail = std::move(detail)};
    out.pixels.clear();
    return std::move(out);
  };
  Sample sample;
  try {
    sample = mixture_->source(draw.source).read(draw.index);
  } catch (const Error& error) {
    return hole(Skip::unreadable, error.message());
  }
  if (!sample.id.empty()) out.id = sample.id;
  out.language = sample.language;
  if (options_.quarantine.contains(out.id)) return hole(Skip::filtered, "it is in quarantine");
  out.turns_dropped = drop_negative_turns(sample, options_.negative_share, options_.seed, draw);
  for (const Part& part : sample.parts) {
    if (part.kind == Part::Kind::answer) ++out.polarities[static_cast<std::size_t>(part.polarity)];
  }
  try {
    out.text = prompts_.tokenize(sample);
  } catch (const Error& error) {
    return hole(Skip::unreadable, error.message());
  }
  if (out.text.skip == Skip::no_answer && out.turns_dropped > 0) {
    return hole(Skip::filtered, "all its turns are negative");
  }
  for (std::size_t i = 0; i < out.text.images.size(); ++i) {
    try {
      std::vector<float> pixels = read_pixels_(sample.images[static_cast<std::size_t>(out.text.images[i])], images_);
      if (options_.augment) {
        augment(pixels, images_,
                {.seed = options_.seed,
                 .step = static_cast<std::uint32_t>(job.step),
                 .position = static_cast<std::uint32_t>(position),
                 .picture = static_cast<std::uint32_t>(i)});
      }
      if (out.pixels.empty()) {
        out.pixels = std::move(pixels);
      } else {
        out.pixels.insert(out.pixels.end(), pixels.begin(), pixels.end());
      }
    } catch (const Error& error) {
      return hole(Skip::bad_image, error.message());
    }
  }
  return out;
}

void Loader::append(MicroBatch& batch, Prepared&& sample) {
  const TokenizedSample& text = sample.text;
  const auto begin = static_cast<std::int32_t>(batch.tokens.size()), n = static_cast<std::int32_t>(text.tokens.size());
  for (std::int32_t i = 0; i < n; ++i) {
    const std::int32_t token = text.tokens[static_cast<std::size_t>(i)],
                       label = text.labels[static_cast<std::size_t>(i)];
    batch.tokens.push_back(std::max(token, 0));
    batch.positions.push_back(i);
    batch.labels.push_back(label);
    batch.row_ids.push_back(sample.position);
    batch.row_ids.push_back(i);
    if (token < 0) batch.visual_rows.push_back(begin + i);
    if (label >= 0) {
      batch.label_rows.push_back(begin + i);
      batch.label_ids.push_back(label);
    }
  }
  batch.sequence_offsets.push_back(begin + n);
  batch.max_length = std::max(batch.max_length, n);
  batch.pixels.insert(batch.pixels.end(), sample.pixels.begin(), sample.pixels.end());
  std::vector<float>().swap(sample.pixels);  // held once
  batch.sample_positions.push_back(sample.position);
  batch.ids.push_back(std::move(sample.id));
  ++batch.counts.samples;
  batch.counts.images += static_cast<std::int64_t>(text.images.size());
  ++batch.counts.languages[static_cast<std::size_t>(sample.language)];
  for (std::size_t i = 0; i < sample.polarities.size(); ++i) batch.counts.polarities[i] += sample.polarities[i];
  batch.counts.turns_cut += text.turns_cut;
  batch.counts.answers_cut += text.answer_cut;
}

void Loader::assemble(Job& job) const {
  job.result.step = job.step;
  for (auto& samples : job.prepared) {
    MicroBatch batch;
    batch.sequence_offsets = {0};
    std::size_t pixels = 0;
    for (const Prepared& sample : samples) pixels += sample.pixels.size();
    batch.pixels.reserve(pixels);
    for (Prepared& sample : samples) {
      batch.counts.turns_dropped += sample.turns_dropped;
      if (sample.text.skip == Skip::none) {
        append(batch, std::move(sample));
      } else {
        ++batch.counts.skipped[static_cast<std::size_t>(sample.text.skip)];
        batch.holes.push_back(sample.id);
        job.holes.push_back(std::move(sample));
      }
    }
    batch.counts.tokens = static_cast<std::int64_t>(batch.tokens.size());
    batch.counts.label_tokens = static_cast<std::int64_t>(batch.label_rows.size());
    job.result.counts += batch.counts;
    job.result.micro_batches.push_back(std::move(batch));
  }
}

}  // namespace skymm
