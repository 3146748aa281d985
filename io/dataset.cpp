#include "io/dataset.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <deque>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.hpp"
#include "io/dataset_format.hpp"
#include "io/dataset_shard.hpp"
#include "io/hash.hpp"
#include "io/manifest.hpp"

namespace skymm {
namespace {

using SharedDescriptor = std::shared_ptr<const ShardFile>;

// A quarter of the descriptors that the process may have.
std::size_t most_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 64;
  return std::clamp<std::size_t>(limit.rlim_cur / 4, 16, 1024);
}

// Where a shard's samples of each language are: its languages, and counts in front of every block of them.
struct LanguageIndex {
  static constexpr std::int64_t block = 1024;
  std::vector<std::uint8_t> languages;
  std::vector<std::array<std::int32_t, 3>> before;  // [blocks]

  explicit LanguageIndex(std::vector<std::uint8_t> all) : languages(std::move(all)) {
    std::array<std::int32_t, 3> counts{};
    for (std::size_t i = 0; i < languages.size(); ++i) {
      if (i % block == 0) before.push_back(counts);
      languages[i] = std::min<std::uint8_t>(languages[i], 2);
      ++counts[languages[i]];
    }
  }

  std::int64_t count(std::uint8_t language, std::int64_t end) const {
    if (end == 0) return 0;
    const std::int64_t first = (end - 1) / block * block;
    return before[static_cast<std::size_t>(first / block)][language] +
           std::count(languages.begin() + first, languages.begin() + end, language);
  }

  std::int64_t find(std::uint8_t language, std::int64_t k) const {
    const auto after = std::ranges::upper_bound(
        before, k, {}, [&](const std::array<std::int32_t, 3>& counts) -> std::int64_t { return counts[language]; });
    const std::int64_t in = after - before.begin() - 1;
    std::int64_t i = in * block, left = k - before[static_cast<std::size_t>(in)][language];
    for (;; ++i) {
      if (languages.at(static_cast<std::size_t>(i)) == language && left-- == 0) return i;
    }
  }
};

// A file of the set, opened when it is first used.
struct Member {
  ShardEntry entry;
  std::string path;
  std::int64_t first_sample = 0, first_image = 0;
  std::mutex opening;
  std::unique_ptr<DatasetShard> shard;
  std::unique_ptr<LanguageIndex> languages;
  std::string damage;  // why it cannot be opened
};

// A shard with its file open, as long as this lives.
struct Opened {
  const DatasetShard& shard;
  SharedDescriptor file;
  int fd() const { return file->fd(); }
};

}  // namespace

struct Dataset::Impl {
  std::string path, provenance;
  bool manifest = false;
  std::deque<Member> members;                             // never moved: they hold mutexes
  std::vector<std::int64_t> first_samples, first_images;  // of each member, and the end
  const std::size_t most_open = most_open_files();
  std::mutex files;
  std::vector<SharedDescriptor> descriptors;  // of each member; null where closed
  std::deque<std::size_t> open_order;

  explicit Impl(std::string where) : path(std::move(where)) {
    if (std::filesystem::is_directory(path)) path = (std::filesystem::path(path) / manifest_name).string();
    manifest = is_manifest_path(path);
    if (manifest) {
      const Manifest set = read_manifest(path);
      check_shard_sizes(path, set);
      provenance = set.provenance;
      for (const ShardEntry& entry : set.shards) {
        Member& member = members.emplace_back();
        member.entry = entry;
        member.path = shard_path(path, entry);
      }
    } else {
      members.emplace_back().path = path;
    }
    descriptors.resize(members.size());
    if (!manifest) open_single();
    first_samples.push_back(0);
    first_images.push_back(0);
    for (Member& member : members) {
      member.first_sample = first_samples.back();
      member.first_image = first_images.back();
      first_samples.push_back(member.first_sample + member.entry.samples);
      first_images.push_back(member.first_image + member.entry.images);
    }
  }

  // A file has no manifest: what one would say of it comes from the file.
  void open_single() {
    Member& member = members.front();
    const SharedDescriptor file = descriptor(0);
    member.shard = std::make_unique<DatasetShard>(path, file->fd());
    member.languages = std::make_unique<LanguageIndex>(member.shard->languages(file->fd()));
    member.entry.samples = member.shard->size();
    member.entry.images = member.shard->image_count();
    member.entry.header_crc32c = member.shard->header_crc32c();
    for (std::uint8_t l = 0; l < 3; ++l) {
      member.entry.languages[l] = member.languages->count(l, member.entry.samples);
    }
    provenance = member.shard->provenance();
  }

  SharedDescriptor descriptor(std::size_t number) {
    const std::scoped_lock lock(files);
    SharedDescriptor& place = descriptors[number];
    if (!place) {
      place = std::make_shared<const ShardFile>(members[number].path);
      open_order.push_back(number);
      if (open_order.size() > most_open) {  // who still reads from the oldest keeps it open until done
        descriptors[open_order.front()].reset();
        open_order.pop_front();
      }
    }
    return descriptors[number];
  }

  void open_member(Member& member, int fd) const {
    auto shard = std::make_unique<DatasetShard>(member.path, fd);
    const bool same = shard->header_crc32c() == member.entry.header_crc32c && shard->size() == member.entry.samples &&
                      shard->image_count() == member.entry.images;
    check(same, "data set {}: shard {} is not the one that the manifest was written for; copy it again", path,
          member.entry.file);
    member.shard = std::move(shard);
  }

  Opened open(std::size_t number) {
    Member& member = members[number];
    const std::scoped_lock lock(member.opening);
    check(member.damage.empty(), "{}", member.damage);
    SharedDescriptor file = descriptor(number);
    if (!member.shard) {
      try {
        open_member(member, file->fd());
      } catch (const Error& error) {
        member.damage = error.message();
        throw;
      }
    }
    return {*member.shard, std::move(file)};
  }

  const LanguageIndex& languages(std::size_t number) {
    const Opened opened = open(number);
    Member& member = members[number];
    const std::scoped_lock lock(member.opening);
    if (!member.languages) member.languages = std::make_unique<LanguageIndex>(opened.shard.languages(opened.fd()));
    return *member.languages;
  }

  static std::size_t member_of(const std::vector<std::int64_t>& firsts, std::int64_t i) {
    return static_cast<std::size_t>(std::ranges::upper_bound(firsts, i) - firsts.begin()) - 1;
  }

  // Calls use(shard, fd, index within the shard, member).
  template <class Use>
  auto with_sample(std::int64_t i, Use&& use) {
    check(i >= 0 && i < first_samples.back(), "data set {}: no sample {}; it holds {}", path, i, first_samples.back());
    const std::size_t number = member_of(first_samples, i);
    const Opened opened = open(number);
    return use(opened.shard, opened.fd(), i - first_samples[number], members[number]);
  }
};

Dataset::Dataset(std::string path) : impl_(std::make_unique<Impl>(std::move(path))) {}
Dataset::Dataset(Dataset&&) noexcept = default;
Dataset& Dataset::operator=(Dataset&&) noexcept = default;
Dataset::~Dataset() = default;

const std::string& Dataset::path() const { return impl_->path; }
std::int64_t Dataset::size() const { return impl_->first_samples.back(); }
std::int64_t Dataset::shard_count() const { return std::ssize(impl_->members); }
const std::string& Dataset::provenance() const { return impl_->provenance; }
std::uint64_t Dataset::identity() const {
  Hash64 hash;
  for (const Member& member : impl_->members) {
    hash.add_value(member.entry.samples);
    hash.add_value(member.entry.images);
    hash.add_value(member.entry.header_crc32c);  // which covers the index's checksum, and that each picture's
  }
  return hash.digest();
}

std::int64_t Dataset::image_count() const { return impl_->first_images.back(); }

Sample Dataset::read(std::int64_t index, bool with_images) const {
  return impl_->with_sample(index, [&](const DatasetShard& shard, int fd, std::int64_t i, const Member& member) {
    Sample sample;
    try {
      decode_conversation(shard.conversation(fd, i), sample);
    } catch (const nlohmann::json::exception& error) {
      fail("data set {}: sample {} is no conversation ({}); make the file again", member.path, i, error.what());
    }
    sample.language = shard.language(fd, i);
    sample.source = shard.source(fd, i);
    for (const std::int64_t number : shard.image_numbers(fd, i))
      sample.images.push_back(with_images ? shard.picture(fd, number) : std::string());
    return sample;
  });
}

SampleInfo Dataset::info(std::int64_t index) const {
  return impl_->with_sample(index, [](const DatasetShard& shard, int fd, std::int64_t i, const Member&) {
    return SampleInfo{shard.language(fd, i), shard.source(fd, i), shard.images_of(fd, i), shard.text_bytes(fd, i)};
  });
}

Language Dataset::language(std::int64_t index) const {
  return impl_->with_sample(
      index, [](const DatasetShard& shard, int fd, std::int64_t i, const Member&) { return shard.language(fd, i); });
}

std::string_view Dataset::source(std::int64_t index) const {
  return impl_->with_sample(index,
                            [](const DatasetShard& shard, int fd, std::int64_t i, const Member&) -> std::string_view {
                              return shard.source(fd, i);
                            });
}

std::int64_t Dataset::count(Language language, std::int64_t end) const {
  check(end >= 0 && end <= size(), "data set {}: no sample {}; it holds {}", path(), end, size());
  const auto l = static_cast<std::uint8_t>(language);
  std::int64_t sum = 0;
  for (std::size_t m = 0; m < impl_->members.size(); ++m) {
    const Member& member = impl_->members[m];
    if (member.first_sample + member.entry.samples <= end) {
      sum += member.entry.languages[l];
    } else if (member.first_sample < end) {
      sum += impl_->languages(m).count(l, end - member.first_sample);
    }
  }
  return sum;
}

std::int64_t Dataset::find(Language language, std::int64_t k) const {
  const auto l = static_cast<std::uint8_t>(language);
  std::int64_t left = k;
  for (std::size_t m = 0; m < impl_->members.size(); ++m) {
    const Member& member = impl_->members[m];
    if (left < member.entry.languages[l]) return member.first_sample + impl_->languages(m).find(l, left);
    left -= member.entry.languages[l];
  }
  fail("data set {}: there is no sample {} of that language", path(), k);
}

std::map<std::string, std::int64_t> Dataset::source_counts() const {
  std::map<std::string, std::int64_t> counts;
  for (std::size_t m = 0; m < impl_->members.size(); ++m) {
    const Opened opened = impl_->open(m);
    const std::vector<std::string>& names = opened.shard.sources();
    for (const std::uint16_t number : opened.shard.source_numbers(opened.fd())) ++counts[names.at(number)];
  }
  return counts;
}

std::vector<std::int64_t> Dataset::image_numbers(std::int64_t index) const {
  return impl_->with_sample(index, [](const DatasetShard& shard, int fd, std::int64_t i, const Member& member) {
    std::vector<std::int64_t> numbers = shard.image_numbers(fd, i);
    for (std::int64_t& number : numbers) number += member.first_image;
    return numbers;
  });
}

std::string Dataset::read_image(std::int64_t number) const {
  check(number >= 0 && number < image_count(), "data set {}: no picture {}; it holds {}", path(), number,
        image_count());
  const std::size_t m = Impl::member_of(impl_->first_images, number);
  const Opened opened = impl_->open(m);
  return opened.shard.picture(opened.fd(), number - impl_->first_images[m]);
}

void Dataset::verify() const {
  const std::vector<std::string> damage = find_damage();
  check(damage.empty(), "{}", damage.empty() ? "" : damage.front());
}

std::vector<std::string> Dataset::find_damage() const {
  std::vector<std::string> damage;
  for (std::size_t m = 0; m < impl_->members.size(); ++m) {
    try {
      const Opened opened = impl_->open(m);
      opened.shard.verify(opened.fd());
    } catch (const Error& error) {
      damage.push_back(error.message());
    }
  }
  return damage;
}

}  // namespace skymm
