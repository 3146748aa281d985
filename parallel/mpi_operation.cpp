#include "parallel/mpi_operation.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <utility>

#include "core/error.hpp"
#include "core/trace.hpp"
#include "parallel/status_board.hpp"

namespace skymm {
namespace {

thread_local std::vector<MpiOperation*> under_way;  // of this thread, in the order that they began
thread_local std::uint64_t messages_complete = 0;   // of this thread: whether anything moves

// MPI promises tags up to 32767. An operation's number tells operations of one kind apart, the kind makes sure that a
// rank which calls another collective gets nothing of this one, instead of nonsense.
constexpr std::uint64_t tags_a_call = 32, calls_apart = 1024;
static_assert(2 * call_kinds < tags_a_call);

}  // namespace

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  fail("{}: MPI says: {}; ranks may disagree on what they exchange", call, text.data());
}

MpiChannel::MpiChannel(MPI_Comm comm, const std::string& name)
    : messages(comm), ledger(std::make_shared<Ledger>(name)) {
  check_mpi(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  check_mpi(MPI_Comm_dup(comm, &collectives), "MPI_Comm_dup");
  MPI_Group here, job;
  check_mpi(MPI_Comm_group(comm, &here), "MPI_Comm_group");
  check_mpi(MPI_Comm_group(MPI_COMM_WORLD, &job), "MPI_Comm_group");
  std::vector<int> ranks(static_cast<std::size_t>(size));
  for (int r = 0; r < size; ++r) ranks[r] = r;
  job_ranks.resize(ranks.size());
  check_mpi(MPI_Group_translate_ranks(here, size, ranks.data(), job, job_ranks.data()), "MPI_Group_translate_ranks");
  MPI_Group_free(&here);
  MPI_Group_free(&job);
}

MpiChannel::~MpiChannel() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  // Freeing waits for the other ranks, which may be gone when an error unwinds.
  if (finalized != 0 || std::uncaught_exceptions() > 0) return;
  MPI_Comm_free(&collectives);
  MPI_Comm_free(&messages);
}

MpiOperation::MpiOperation(std::shared_ptr<const MpiChannel> channel, const Call& call, std::vector<Tensor> kept)
    : channel_(std::move(channel)), call_(call), kept_(std::move(kept)) {}

// Abandoned while an error unwinds: MPI may still write to the tensors, so their memory is given up for good.
MpiOperation::~MpiOperation() {
  std::erase(under_way, this);
  if (state_ == State::running || state_ == State::failed) new std::vector<Tensor>(std::move(kept_));
}

int MpiOperation::tag(int lane) const {
  if (!call_.collective()) return call_.tag;
  if (lane == agreement_lane) return tags_a_call - 1;
  const auto place = (call_.number % calls_apart) * tags_a_call + 2 * static_cast<std::uint64_t>(call_.kind);
  return static_cast<int>(place) + lane;
}

void MpiOperation::send(Round& round, const void* from, std::int64_t bytes, int to, int lane) {
  const MPI_Comm comm = call_.collective() ? channel_->collectives : channel_->messages;
  for (std::int64_t at = 0; at == 0 || at < bytes; at += channel_->largest_message) {
    const auto count = static_cast<int>(std::min(channel_->largest_message, bytes - at));
    MPI_Request request;
    check_mpi(MPI_Isend(static_cast<const char*>(from) + at, count, MPI_BYTE, to, tag(lane), comm, &request),
              "MPI_Isend");
    round.messages.push_back({request, -1, to});
  }
  count(sent_, bytes, lane);
}

void MpiOperation::receive(Round& round, void* to, std::int64_t bytes, int from, int lane) {
  const MPI_Comm comm = call_.collective() ? channel_->collectives : channel_->messages;
  for (std::int64_t at = 0; at == 0 || at < bytes; at += channel_->largest_message) {
    const auto count = static_cast<int>(std::min(channel_->largest_message, bytes - at));
    MPI_Request request;
    check_mpi(MPI_Irecv(static_cast<char*>(to) + at, count, MPI_BYTE, from, tag(lane), comm, &request), "MPI_Irecv");
    round.messages.push_back({request, count, from});
  }
  count(received_, bytes, lane);
}

void MpiOperation::count(std::int64_t& bytes, std::int64_t more, int lane) {
  agreement_ = lane == agreement_lane;
  if (lane < agreement_lane) bytes += more;
}

// One request at a time: OpenMPI 4.1's MPI_Waitall never returns when a message is longer than its buffer.
bool MpiOperation::arrived(Round& round) {
  for (; !round.complete(); ++round.done) {
    Message& message = round.messages[round.done];
    int done = 0;
    MPI_Status status;
    const int code = MPI_Test(&message.request, &done, &status);
    if (code == MPI_SUCCESS && done == 0) {
      waits_for_ = message.peer;
      return false;
    }
    finish(code, status, message);
    ++messages_complete;
  }
  return true;
}

void MpiOperation::finish(int code, const MPI_Status& status, const Message& message) const {
  int error_class = MPI_SUCCESS;
  if (code != MPI_SUCCESS) MPI_Error_class(code, &error_class);
  const std::string& name = channel_->ledger->communicator();
  check(error_class != MPI_ERR_TRUNCATE, "{} of {}: rank {} sent more than the {} bytes that are expected", call_.str(),
        name, message.peer, message.expected);
  check_mpi(code, name_of(call_.kind).data());
  if (message.expected < 0) return;
  int count = 0;
  MPI_Get_count(&status, MPI_BYTE, &count);
  check(count == message.expected, "{} of {}: rank {} sent {} bytes where {} are expected", call_.str(), name,
        message.peer, count, message.expected);
}

void MpiOperation::drive() {
  try {
    if (state_ == State::fresh) {
      state_ = State::running;
      under_way.push_back(this);
      begin();
    }
    if (!advance()) return;
    if (delivery_.to.defined()) {
      const StreamScope scope(*delivery_.stream);
      delivery_.to.copy_from(delivery_.host);
    }
  } catch (...) {
    state_ = State::failed;
    std::erase(under_way, this);
    throw;
  }
  state_ = State::complete;
  std::erase(under_way, this);
  kept_.clear();
  delivery_ = {};
  if (!agreement_) channel_->ledger->complete(call_, sent_, received_);
}

bool MpiOperation::test() {
  check(state_ != State::failed, "{} of {} failed before", call_.str(), channel_->ledger->communicator());
  if (!complete()) poll_operations();
  return complete();
}

void MpiOperation::wait() {
  if (complete()) return;
  const TraceSpan span(name_of(call_.kind).data(), "communication");
  WaitScope scope(call_, *channel_->ledger);
  for (std::uint64_t moved = messages_complete; !test(); moved = messages_complete) {
    scope.update(waits_for_ < 0 ? -1 : channel_->job_ranks[waits_for_], moved != messages_complete);
  }
}

void poll_operations() {
  for (std::size_t i = 0; i < under_way.size();) {
    MpiOperation* operation = under_way[i];
    operation->drive();
    if (!operation->complete()) ++i;
  }
}

}  // namespace skymm
