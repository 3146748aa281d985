#include "launch/report/schedule_drawing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pugixml.hpp>

#include "io/file.hpp"
#include "launch/config/options.hpp"
#include "launch/plan_command.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using skymm::testing::error_of;
using skymm::testing::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A picture as a browser would read it.
class Drawing {
 public:
  explicit Drawing(const std::string& text) {
    const pugi::xml_parse_result result = document_.load_string(text.c_str());
    EXPECT_TRUE(result) << result.description();
  }
  std::size_t count(const std::string& path) const { return document_.select_nodes(path.c_str()).size(); }
  // Computations, and not their sample in the legend.
  std::size_t boxes(const std::string& kind) const { return count("/svg/rect[starts-with(@class, '" + kind + " ')]"); }
  std::string text(const char* path) const { return document_.select_node(path).node().text().as_string(); }

 private:
  pugi::xml_document document_;
};

Drawing drawn(ScheduleKind kind, const PipelineShape& shape, const PieceCost& cost) {
  const Schedule schedule = make_schedule(kind, shape);
  const std::vector<PieceCost> costs(static_cast<std::size_t>(shape.pieces()), cost);
  return Drawing(draw_schedule(schedule, simulate(schedule, costs)));
}

TEST(ScheduleDrawing, HasABoxForEachComputation) {
  const Drawing one = drawn(ScheduleKind::one_f_one_b, {4, 8}, {});
  EXPECT_EQ(one.boxes("forward"), 32U);
  EXPECT_EQ(one.boxes("backward"), 32U);
  EXPECT_EQ(one.boxes("weight"), 0U);
  EXPECT_EQ(one.count("/svg/g[@class='legend']"), 3U);
  EXPECT_EQ(one.count("/svg/text[@class='n'][.='7']"), 8U);  // the last micro-batch, forward and backward
  EXPECT_EQ(one.text("/svg/title"),
            "1f1b, 4 stages, 8 micro-batches: 27.3 % of the time is bubble (6 of 22); a stage keeps the activations of "
            "at most 4 micro-batches");

  const Drawing zero = drawn(ScheduleKind::zero_bubble, {2, 4}, {.backward = 2, .weight = 1});
  EXPECT_EQ(zero.boxes("weight"), 8U);
  EXPECT_EQ(zero.count("/svg/g[@class='legend']"), 4U);
  EXPECT_THAT(zero.text("/svg/text[2]"), HasSubstr("(1 of 13)"));
  // What takes no time has no box.
  EXPECT_EQ(drawn(ScheduleKind::zero_bubble, {2, 4}, {}).boxes("weight"), 0U);

  const Drawing chunks = drawn(ScheduleKind::interleaved, {2, 4, 2}, {});
  EXPECT_EQ(chunks.boxes("forward c1"), 0U);  // c1 ends the class
  EXPECT_EQ(chunks.count("/svg/rect[@class='forward c1']"), 8U);
  EXPECT_THAT(chunks.text("/svg/title"), HasSubstr("2 chunks a stage"));
}

TEST(ScheduleDrawing, StaysWholeAtItsLimits) {
  EXPECT_EQ(drawn(ScheduleKind::gpipe, {1, 1}, {}).boxes("forward"), 1U);
  EXPECT_EQ(drawn(ScheduleKind::gpipe, {2, 2}, {.forward = 0, .backward = 0}).boxes("forward"), 0U);
  EXPECT_EQ(drawn(ScheduleKind::one_f_one_b, {2, 500}, {}).boxes("forward"), 1000U);
  EXPECT_THAT(error_of([] { drawn(ScheduleKind::one_f_one_b, {2, 501}, {}); }), HasSubstr("take fewer micro-batches"));
}

TEST(PlanCommand, DrawsWhatItIsAskedFor) {
  const TemporaryFolder folder;
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(plan_command({"--draw", folder.file("a.svg"), "--schedule", "interleaved", "--stages", "2",
                          "--micro-batches", "4", "--chunks", "2", "--forward", "2", "--backward", "4", "--send", "0"}),
            0);
  EXPECT_THAT(::testing::internal::GetCapturedStdout(),
              AllOf(HasSubstr("interleaved, 2 stages, 4 micro-batches, 2 chunks a stage"), HasSubstr("(3 of 27)")));
  EXPECT_EQ(Drawing(read_file(folder.file("a.svg"))).count("/svg/rect[contains(@class, ' c')]"), 32U);
}

TEST(PlanCommand, CountsEachTimeThatItIsGiven) {
  const TemporaryFolder folder;
  const auto says = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--draw", folder.file("a.svg"), "--stages", "2", "--micro-batches", "1"});
    ::testing::internal::CaptureStdout();
    plan_command(arguments);
    return ::testing::internal::GetCapturedStdout();
  };
  EXPECT_THAT(says({}), HasSubstr("1f1b, 2 stages, 1 micro-batch: 50.0 % of the time is bubble (2 of 4)"));
  EXPECT_THAT(says({"--forward", "3"}), HasSubstr("(4 of 8)"));
  EXPECT_THAT(says({"--backward", "3"}), HasSubstr("(4 of 8)"));
  EXPECT_THAT(says({"--send", "0.5"}), HasSubstr("(3 of 5)"));  // there and back
  EXPECT_THAT(says({"--backward", "2", "--weight", "1", "--schedule", "zero-bubble"}), HasSubstr("(2 of 5)"));
}

TEST(PlanCommand, RefusesWhatMakesNoSense) {
  const TemporaryFolder folder;
  const auto refuses = [&](std::vector<std::string> arguments, const char* message) {
    arguments.insert(arguments.end(), {"--draw", folder.file("a.svg")});
    try {
      plan_command(arguments);
      ADD_FAILURE() << message;
    } catch (const UsageError& error) {
      EXPECT_THAT(error.message(), HasSubstr(message));
    }
  };
  refuses({"--schedule", "1f2b"}, "--schedule: there is no schedule '1f2b'");
  refuses({"--stages", "0"}, "--stages: 0 is out of range");
  refuses({"--micro-batches", "4000000000"}, "--micro-batches: 4000000000 is too many");
  refuses({"--chunks", "2"}, "--schedule interleaved");
  refuses({"--forward", "-1"}, "--forward: -1 is out of range");
  refuses({"--weight", "2"}, "--weight 2 is a part of --backward 1");
  refuses({"--stage", "2"}, "did you mean '--stages'");
  EXPECT_THROW(plan_command({"--stages", "2"}), UsageError);  // nothing to do
}

}  // namespace
}  // namespace skymm
