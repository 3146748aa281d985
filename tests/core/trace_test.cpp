#include "core/trace.hpp"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace skymm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> names_kept() {
  std::vector<std::string> names;
  for (const auto& event : nlohmann::json::parse("[" + trace_events() + "]")) names.push_back(event.at("name"));
  return names;
}

TEST(Trace, KeepsTheNewestSpansAndSaysSoOnce) {
  enable_trace(3);
  ::testing::internal::CaptureStderr();
  for (const char* name : {"a", "b", "c"}) const TraceSpan span(name);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), Not(HasSubstr("full")));
  EXPECT_EQ(names_kept(), (std::vector<std::string>{"a", "b", "c"}));
  ::testing::internal::CaptureStderr();
  for (const char* name : {"d", "e", "f", "g"}) const TraceSpan span(name);
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("the newest 3 spans of each rank are kept"));
  EXPECT_EQ(log.find("full"), log.rfind("full"));
  EXPECT_EQ(names_kept(), (std::vector<std::string>{"e", "f", "g"}));
  enable_trace();
  EXPECT_TRUE(names_kept().empty());
}

}  // namespace
}  // namespace skymm
