#include "parallel/pipeline/executor.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "core/error.hpp"
#include "core/progress.hpp"
#include "core/trace.hpp"
#include "parallel/pipeline/layer_uses.hpp"

namespace skymm {
namespace {

using Kind = Instruction::Kind;

bool contains(const std::vector<Instruction>& list, Kind kind) {
  return std::ranges::any_of(list, [kind](const Instruction& instruction) { return instruction.kind == kind; });
}

}  // namespace

// What lives for one pass only.
class Executor::Pass {
 public:
  Pass(Executor& executor, const Schedule& schedule, std::vector<Batch> batches, const Pictures& pictures)
      : executor_(executor),
        model_(executor.model_),
        pipeline_(executor.pipeline_),
        frozen_(executor.options_.frozen),
        shape_(schedule.shape),
        list_(schedule.stages.at(static_cast<std::size_t>(executor.pipeline_.rank()))),
        batches_(std::move(batches)),
        pictures_(pictures),
        mode_(contains(list_, Kind::backward) ? Graph::Mode::training : Graph::Mode::inference),
        weights_(contains(list_, Kind::weight_gradient) ? Graph::Weights::deferred : Graph::Weights::now) {
    for (const Batch& batch : batches_) sizes_.push_back(model_.sizes(batch));
    for (const Instruction& instruction : list_) {
      if (instruction.kind == Kind::reduce_gradients) reduced_.insert({instruction.chunk, instruction.micro_batch});
    }
  }

  double run() {
    if (frozen_ != nullptr) frozen_->begin(layer_uses(model_.config(), list_, own_pieces()));
    for (std::size_t i = 0; i < list_.size(); ++i) {
      post_receives(i);
      carry_out(list_[i]);
      if (frozen_ != nullptr && computes(list_[i].kind)) frozen_->end_computation();
    }
    if (frozen_ != nullptr) frozen_->end();
    for (InFlight& sent : sent_) sent.handle.wait();
    check(live_.empty() && tensors_.empty(), "the list of stage {} ended with work left over", pipeline_.rank());
    double loss = 0;
    for (const auto& [micro_batch, sum] : losses_) loss += executor_.losses_[micro_batch] = sum.item();
    return loss;
  }

 private:
  using Key = std::pair<int, int>;  // chunk, micro-batch

  // A micro-batch in a chunk, from forward to the end of backward.
  struct Live {
    std::unique_ptr<Graph> graph;
    Variable input, output;
  };
  // What crosses a cut: forwards the activation in front of `piece`, backwards its gradient.
  struct Message {
    int piece = 0, micro_batch = 0;
    bool backwards = false;
    auto operator<=>(const Message&) const = default;
  };
  struct InFlight {
    Tensor tensor;  // kept as long as the handle is not complete
    Handle handle;  // empty where this stage hands it over to itself
  };

  int piece(int chunk) const { return shape_.piece(pipeline_.rank(), chunk); }
  const BlockRange& blocks(int piece) const { return executor_.pieces_[static_cast<std::size_t>(piece)]; }
  std::vector<BlockRange> own_pieces() const {
    std::vector<BlockRange> own;
    for (int chunk = 0; chunk < shape_.chunks; ++chunk) own.push_back(blocks(piece(chunk)));
    return own;
  }
  const BatchSizes& sizes(int micro_batch) const { return sizes_[static_cast<std::size_t>(micro_batch)]; }
  bool is_last(int piece) const { return piece + 1 == shape_.pieces(); }
  int tag(const Message& m) const { return (m.micro_batch * shape_.pieces() + m.piece) * 2 + (m.backwards ? 1 : 0); }

  // What an instruction receives or sends.
  Message message(const Instruction& instruction) const {
    const int here = piece(instruction.chunk);
    switch (instruction.kind) {
      case Kind::receive_activation:
        return {here, instruction.micro_batch, false};
      case Kind::send_activation:
        return {here + 1, instruction.micro_batch, false};
      case Kind::receive_gradient:
        return {here + 1, instruction.micro_batch, true};
      default:
        return {here, instruction.micro_batch, true};
    }
  }
  // No rows where nothing crosses.
  Shape shape_of(const Message& m) const {
    const std::int64_t cut = blocks(m.piece).begin;
    const Shape shape = boundary_shape(model_.config(), cut, sizes(m.micro_batch));
    if (!m.backwards || gradient_crosses(model_.config(), cut, sizes(m.micro_batch))) return shape;
    return {0, shape[1]};
  }
  bool crosses(const Message& m) const { return shape_of(m)[0] > 0; }

  void carry_out(const Instruction& instruction);
  void post_receives(std::size_t at);
  void send(const Message& message, Tensor tensor);
  void let_messages_move();
  Tensor take(const Message& message);
  void need(std::int64_t block);
  Batch& begin(int chunk, int micro_batch);
  void forward(int chunk, int micro_batch);
  void backward(int chunk, int micro_batch);
  void weight_gradient(int chunk, int micro_batch);

  Executor& executor_;
  Multimodal& model_;
  Communicator& pipeline_;
  FrozenShards* const frozen_;
  const PipelineShape shape_;
  const std::vector<Instruction>& list_;
  std::vector<Batch> batches_;
  const Pictures& pictures_;
  const Graph::Mode mode_;
  const Graph::Weights weights_;
  std::vector<BatchSizes> sizes_;

  std::set<Key> reduced_;  // whose gradient work is followed by a reduction
  std::map<Key, Live> live_;
  std::map<std::size_t, Tensor> losses_;  // of the head, by micro-batch
  std::map<Message, InFlight> tensors_;   // that arrive, or wait for a send or for the next chunk
  std::vector<InFlight> sent_;
  struct {
    std::size_t searched = 0;  // instructions of the list
    std::size_t posted = 0;    // up to the last that was posted
  } receives_[2];              // of activations, of gradients
};

void Executor::Pass::carry_out(const Instruction& instruction) {
  const auto [kind, chunk, micro_batch] = instruction;
  if (computes(kind)) executor_.optimizer_.wait_weights(chunk);
  switch (kind) {
    case Kind::receive_activation:
    case Kind::receive_gradient:
      return;  // posted before; the work that needs the tensor waits for it
    case Kind::send_activation:
    case Kind::send_gradient: {
      const Message out = message(instruction);
      if (crosses(out)) send(out, take(out));
      return;
    }
    case Kind::forward:
      return forward(chunk, micro_batch);
    case Kind::backward:
      return backward(chunk, micro_batch);
    case Kind::weight_gradient:
      return weight_gradient(chunk, micro_batch);
    case Kind::gather_weights:
      return executor_.optimizer_.gather_weights(chunk);
    case Kind::release_weights:
      return executor_.optimizer_.release_weights(chunk);
    case Kind::reduce_gradients:
      return executor_.optimizer_.reduce_gradients(chunk, micro_batch + 1 == shape_.micro_batches);
  }
}

// The next receive of each kind is always posted: its tensor can come while something else is computed, and a neighbour
// whose send waits for it is not held up by what this stage waits for.
void Executor::Pass::post_receives(std::size_t at) {
  for (const Kind kind : {Kind::receive_activation, Kind::receive_gradient}) {
    auto& [searched, posted] = receives_[kind == Kind::receive_gradient ? 1 : 0];
    for (; posted <= at && searched < list_.size(); ++searched) {
      if (list_[searched].kind != kind) continue;
      const Message in = message(list_[searched]);
      if (!crosses(in)) continue;
      const PurposeScope purpose(Purpose::communication);
      const Tensor buffer = Tensor::empty(shape_of(in), model_.dtype(), model_.device());
      const int from = shape_.stage_of(in.backwards ? in.piece : in.piece - 1);
      tensors_[in] = {buffer, pipeline_.irecv(buffer, from, tag(in))};
      posted = searched + 1;
    }
  }
}

void Executor::Pass::send(const Message& out, Tensor tensor) {
  const int to = shape_.stage_of(out.backwards ? out.piece - 1 : out.piece);
  check(tensor.shape() == shape_of(out) && tensor.dtype() == model_.dtype(),
        "piece {} is to get a {} of shape {}, and would get {} in {}", out.piece,
        out.backwards ? "gradient" : "activation", shape_of(out), tensor.shape(), name_of(tensor.dtype()));
  Handle handle = pipeline_.isend(tensor, to, tag(out));
  if (!executor_.options_.overlap) return handle.wait();
  sent_.push_back({std::move(tensor), std::move(handle)});
}

// MPI moves data only inside its calls, so that who computes for long has to make some.
void Executor::Pass::let_messages_move() {
  made_progress();
  if (!executor_.options_.overlap) return;
  pipeline_.poll();
  std::erase_if(sent_, [](InFlight& sent) { return sent.handle.test(); });
}

Tensor Executor::Pass::take(const Message& message) {
  const auto found = tensors_.find(message);
  check(found != tensors_.end(), "micro-batch {} has no {} in front of piece {} when it is needed; the list lacks it",
        message.micro_batch, message.backwards ? "gradient" : "activation", message.piece);
  found->second.handle.wait();
  Tensor tensor = std::move(found->second.tensor);
  tensors_.erase(found);
  return tensor;
}

// The frozen weights of the block are there from now on.
void Executor::Pass::need(std::int64_t block) {
  if (frozen_ != nullptr && frozen_->holds(block)) frozen_->use(block);
}

// The micro-batch on the model's device, where it stays: other chunks need what is small of it.
Batch& Executor::Pass::begin(int chunk, int micro_batch) {
  const auto index = static_cast<std::size_t>(micro_batch);
  Batch& batch = batches_[index];
  if (chunk > 0) return batch;
  if (pictures_ && piece(chunk) == 0 && batch.has_image()) pictures_(index, batch);
  return batch = batch.to(model_.device());
}

void Executor::Pass::forward(int chunk, int micro_batch) {
  if (sizes(micro_batch).labels == 0) return;
  const TraceSpan span("forward", "pipeline");
  const int here = piece(chunk);
  Batch& batch = begin(chunk, micro_batch);
  Live live{std::make_unique<Graph>(mode_), {}, {}};
  live.graph->on_node([this] { let_messages_move(); });
  if (executor_.options_.overlap && reduced_.contains({chunk, micro_batch})) {
    live.graph->on_complete([this, chunk](Parameter& p) { executor_.optimizer_.complete_gradient(chunk, p); });
  }
  if (here > 0) {
    if (const Message in{here, micro_batch, false}; crosses(in)) {
      Tensor x = take(in);
      live.input =
          crosses({here, micro_batch, true}) ? live.graph->input(std::move(x)) : live.graph->constant(std::move(x));
    }
  }
  live.output = live.input;
  for (std::int64_t block = blocks(here).begin; block < blocks(here).end; ++block) {
    need(block);
    live.output = model_.run({block, block + 1}, *live.graph, live.output, batch);
    if (block == 0) batch.pixels = batch.features = Tensor();  // the graph keeps what backward needs of them
    if (frozen_ != nullptr) live.graph->on_return([this, block] { need(block); });
    let_messages_move();
  }
  if (is_last(here)) {
    losses_[static_cast<std::size_t>(micro_batch)] = live.output.value();
  } else if (const Message out{here + 1, micro_batch, false}; crosses(out)) {
    tensors_[out] = {live.output.value(), {}};
  }
  if (mode_ == Graph::Mode::training) live_[{chunk, micro_batch}] = std::move(live);
}

void Executor::Pass::backward(int chunk, int micro_batch) {
  if (sizes(micro_batch).labels == 0) return;
  const TraceSpan span("backward", "pipeline");
  const int here = piece(chunk);
  Live& live = live_.at({chunk, micro_batch});
  Tensor gradient;
  if (is_last(here)) {
    gradient = Tensor::full({1}, DType::f32, 1, model_.device());
  } else if (const Message in{here + 1, micro_batch, true}; crosses(in)) {
    gradient = take(in);
  }
  if (gradient.defined()) {
    const Variable output = std::exchange(live.output, {});
    live.graph->backward(output, gradient, weights_);
  }
  if (const Message out{here, micro_batch, true}; here > 0 && crosses(out)) {
    Tensor dx = live.graph->gradient(live.input);
    if (!dx.defined()) dx = Tensor::zeros(shape_of(out), model_.dtype(), model_.device());
    tensors_[out] = {dx.contiguous(), {}};
  }
  if (weights_ == Graph::Weights::now) live_.erase({chunk, micro_batch});
  let_messages_move();
}

void Executor::Pass::weight_gradient(int chunk, int micro_batch) {
  if (sizes(micro_batch).labels == 0) return;
  const TraceSpan span("weight gradient", "pipeline");
  if (frozen_ != nullptr) {
    const std::int64_t first = first_block(model_.config(), BlockKind::layer);
    if (const BlockRange own = blocks(piece(chunk)); own.begin <= first && first < own.end) need(first);
  }
  live_.at({chunk, micro_batch}).graph->weight_gradients();
  live_.erase({chunk, micro_batch});
  let_messages_move();
}

Executor::Executor(Multimodal& model, std::vector<BlockRange> pieces, Communicator& pipeline, Optimizer& optimizer,
                   const ExecutorOptions& options)
    : model_(model), pieces_(std::move(pieces)), pipeline_(pipeline), optimizer_(optimizer), options_(options) {}

double Executor::run(const Schedule& schedule, std::vector<Batch> batches, const Pictures& pictures) {
  check(schedule.shape.stages == pipeline_.size() && schedule.shape.pieces() == static_cast<int>(pieces_.size()) &&
            schedule.shape.micro_batches == static_cast<int>(batches.size()),
        "the schedule is for {} stages, {} pieces and {} micro-batches; there are {}, {} and {}", schedule.shape.stages,
        schedule.shape.pieces(), schedule.shape.micro_batches, pipeline_.size(), pieces_.size(), batches.size());
  losses_.assign(batches.size(), 0);
  return Pass(*this, schedule, std::move(batches), pictures).run();
}

}  // namespace skymm
