#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "ops/models/multimodal.hpp"

namespace skymm {
namespace {

struct Group {
  std::string name;
  bool trainable;
  std::int64_t tensors = 0, parameters = 0;
};

std::string group_of(const std::string& name) {
  const std::string first = name.substr(0, name.find('.'));
  if (name.find(".lora_") != std::string::npos) return "LoRA";
  return first == "model" || first == "lm_head" ? "decoder" : first;
}

std::string line(std::string_view name, std::string_view state, std::int64_t tensors, std::int64_t parameters,
                 std::int64_t all) {
  return fmt::format("  {:<16} {:<8} {:>8} {:>16} {:>7.2f} %\n", name, state, tensors, parameters,
                     100.0 * static_cast<double>(parameters) / static_cast<double>(std::max<std::int64_t>(all, 1)));
}

}  // namespace

std::string trainable_table(const std::vector<TableEntry>& parameters) {
  std::vector<Group> groups;
  Group trained{"trained", true}, frozen{"frozen", false};
  for (const TableEntry& entry : parameters) {
    const std::string name = group_of(entry.name);
    const bool trainable = entry.trainable;
    auto group = std::ranges::find_if(
        groups, [&](const Group& other) { return other.name == name && other.trainable == trainable; });
    if (group == groups.end()) group = groups.insert(groups.end(), Group{name, trainable});
    for (Group* sum : {&*group, trainable ? &trained : &frozen}) {
      ++sum->tensors;
      sum->parameters += entry.size;
    }
  }
  const std::int64_t all = trained.parameters + frozen.parameters;
  std::string table = fmt::format("  {:<16} {:<8} {:>8} {:>16} {:>9}\n", "group", "", "tensors", "parameters", "share");
  for (const Group& group : groups) {
    table += line(group.name, group.trainable ? "trains" : "frozen", group.tensors, group.parameters, all);
  }
  for (const Group& sum : {trained, frozen}) table += line("total", sum.name, sum.tensors, sum.parameters, all);
  return table;
}

std::string trainable_table(Module& module) {
  std::vector<TableEntry> entries;
  for (const NamedParameter& entry : all_parameters(module)) {
    entries.push_back({entry.name, entry.parameter->shape.numel(), entry.parameter->trainable});
  }
  return trainable_table(entries);
}

}  // namespace skymm
