#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "io/dataset.hpp"
#include "io/file.hpp"
#include "io/import/import.hpp"
#include "launch/import_command.hpp"
#include "parallel/gather_text.hpp"
#include "parallel/watchdog.hpp"
#include "support/mpi_main.hpp"
#include "support/shared_folder.hpp"
#include "support/slow_file.hpp"
#include "support/tar.hpp"
#include "support/tiny_run.hpp"

namespace skymm::testing {
namespace {

// The set is that of one rank, whatever the number of ranks.
TEST(ImportCommand, RanksShareTheInputs) {
  std::unique_ptr<TemporaryFolder> own;
  if (ranks().rank() == 0) own = std::make_unique<TemporaryFolder>();
  const std::string folder = gather_text(ranks(), own ? own->path() : "").front();
  std::vector<std::string> inputs;
  for (int file = 0; file < 5; ++file) {
    inputs.push_back(fmt::format("{}/{}.jsonl", folder, file));
    std::string lines;
    for (int i = 0; i < 4; ++i) {
      const std::string name = fmt::format("{}-{}.png", file, i);
      if (ranks().rank() == 0) write_file(folder + "/" + name, tiny_picture(file * 3 + i));
      lines += nlohmann::json{{"id", name}, {"image", i == 2 ? "none" : name}, {"caption", "A box."}}.dump() + "\n";
    }
    if (ranks().rank() == 0) write_file(inputs.back(), lines);
  }
  ranks().barrier();
  std::vector<std::string> words = {"jsonl", "--out", folder + "/out", "--threads", "1"};
  words.insert(words.end(), inputs.begin(), inputs.end());
  EXPECT_EQ(import_command(words), 0);
  ImportOptions options;
  options.format = "jsonl";
  options.inputs = inputs;
  options.out = fmt::format("{}/alone{}", folder, ranks().rank());
  SingleCommunicator alone;
  const ImportResult result = import_dataset(options, alone);
  EXPECT_EQ(result.rejects, (std::map<std::string, std::int64_t>{{"image missing", 5}}));
  const Dataset shared(folder + "/out"), single(options.out);
  ASSERT_EQ(shared.size(), 15);
  ASSERT_EQ(single.size(), 15);
  for (std::int64_t i = 0; i < shared.size(); ++i) {
    EXPECT_EQ(shared.read(i).id, single.read(i).id);
    EXPECT_EQ(shared.read(i).images, single.read(i).images);
  }
  EXPECT_EQ(read_file(folder + "/out/rejects.jsonl"), read_file(options.out + "/rejects.jsonl"));
  ranks().barrier();
}

// The folder of rank 1 takes longer than a rank may wait in training.
TEST(ImportCommand, RanksWithoutWorkWaitForTheOthers) {
  const SharedFolder folder;
  for (const char* input : {"quick", "slow"}) {
    if (ranks().rank() != 0) continue;
    std::filesystem::create_directories(folder.file(input) + "/count");
    write_file(folder.file(input) + "/count/0.png", tiny_picture(0));
  }
  ranks().barrier();
  const std::string questions = "Is there a box?\tYes\nIs there a cat?\tNo\n";
  std::optional<SlowFile> slow;
  if (ranks().rank() == 0) write_file(folder.file("quick/count/0.txt"), questions);
  if (ranks().rank() == 1) slow.emplace(folder.file("slow/count/0.txt"), questions, std::chrono::seconds(2));
  ranks().barrier();
  set_watchdog_limit(0.5);
  const int code = import_command({"mme", folder.file("quick"), folder.file("slow"), "--out", folder.file("out")});
  set_watchdog_limit(300);
  EXPECT_EQ(code, 0);
  EXPECT_EQ(Dataset(folder.file("out")).size(), 2);
}

// The samples' ids and the lines of the rejects, whatever their order.
std::vector<std::string> entries_of(const std::string& folder) {
  std::vector<std::string> entries;
  const Dataset set(folder);
  for (std::int64_t i = 0; i < set.size(); ++i) entries.push_back(set.read(i).id);
  std::istringstream rejects(read_file(folder + "/rejects.jsonl"));
  for (std::string line; std::getline(rejects, line);) entries.push_back(line);
  std::ranges::sort(entries);
  return entries;
}

// One large input keeps all ranks busy; what they left when they were killed, one rank completes.
TEST(ImportCommand, RanksShareOneInput) {
  std::unique_ptr<TemporaryFolder> own;
  if (ranks().rank() == 0) own = std::make_unique<TemporaryFolder>();
  const std::string folder = gather_text(ranks(), own ? own->path() : "").front();
  ImportOptions options;
  options.format = "llava";
  options.inputs = {folder + "/set.json"};
  options.shard_bytes = 20'000;
  if (ranks().rank() == 0) {
    nlohmann::json entries = nlohmann::json::array();
    for (int i = 0; i < 1500; ++i) {
      const nlohmann::json turns = {{{"from", "human"}, {"value", "Who?"}},
                                    {{"from", i % 100 == 7 ? "dog" : "gpt"}, {"value", "I am a model."}}};
      entries.push_back({{"id", std::to_string(i)}, {"conversations", turns}});
    }
    std::string text = entries.dump();
    text.back() = ',';  // torn: reported once, though all ranks read it
    write_file(options.inputs[0], text);
  }
  ranks().barrier();
  struct Killed {};
  options.out = folder + "/out";
  const std::string first_shard = fmt::format("{}/shard-{:05}-00000.h5", options.out, ranks().rank());
  options.on_progress = [&](const ImportProgress&) {
    if (std::filesystem::exists(first_shard)) throw Killed{};
  };
  EXPECT_THROW(import_dataset(options, ranks()), Killed);
  options.on_progress = {};
  ranks().barrier();
  if (ranks().rank() == 0) {
    SingleCommunicator alone;
    const ImportResult result = import_dataset(options, alone);
    EXPECT_EQ(result.samples, 1485);
    EXPECT_EQ(result.rejects, (std::map<std::string, std::int64_t>{{"malformed", 15}, {"input damaged", 1}}));
    ImportOptions at_once = options;
    at_once.out = folder + "/alone";
    import_dataset(at_once, alone);
    EXPECT_EQ(entries_of(options.out), entries_of(at_once.out));
  }
  options.out = folder + "/together";
  EXPECT_EQ(import_dataset(options, ranks()).samples, 1485);
  ranks().barrier();
}

// The damage is in the last group of the first block: it is not reported by who has the next block, too.
TEST(ImportCommand, RanksShareATornTar) {
  std::unique_ptr<TemporaryFolder> own;
  if (ranks().rank() == 0) own = std::make_unique<TemporaryFolder>();
  const std::string folder = gather_text(ranks(), own ? own->path() : "").front();
  ImportOptions options;
  options.format = "webdataset";
  options.inputs = {folder + "/0.tar"};
  options.out = folder + "/out";
  if (ranks().rank() == 0) {
    TarMembers members;
    const std::string picture = tiny_picture(1);
    for (int i = 0; i < 256; ++i) {
      members.emplace_back(fmt::format("{:03}.png", i), picture);
      members.emplace_back(fmt::format("{:03}.txt", i), "A box.");
    }
    write_tar(options.inputs[0], members);
    const std::uintmax_t group = 3 * 512 + (picture.size() + 511) / 512 * 512;
    std::filesystem::resize_file(options.inputs[0], 255 * group + 512 + 20);
  }
  ranks().barrier();
  const ImportResult result = import_dataset(options, ranks());
  EXPECT_EQ(result.samples, 255);
  EXPECT_EQ(result.rejects, (std::map<std::string, std::int64_t>{{"input damaged", 1}}));
  ranks().barrier();
}

TEST(ImportCommand, ARankUsesItsShareOfTheCoresOfItsHost) {
  EXPECT_EQ(import_threads(16, {.ranks = 64, .local_ranks = 4, .hosts = 16}), 4);
  EXPECT_EQ(import_threads(2, {.ranks = 3, .local_ranks = 3}), 1);
  EXPECT_EQ(import_threads(8, {}), 8);
}

}  // namespace
}  // namespace skymm::testing

int main(int argc, char** argv) { return skymm::testing::run_mpi_tests(argc, argv); }
