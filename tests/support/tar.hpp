// Tar files for tests.
#pragma once

#include <archive.h>
#include <archive_entry.h>

#include <string>
#include <utility>
#include <vector>

namespace skymm::testing {

using TarMembers = std::vector<std::pair<std::string, std::string>>;  // name, bytes

inline void write_tar(const std::string& path, const TarMembers& members) {
  archive* tar = archive_write_new();
  archive_write_set_format_ustar(tar);
  archive_write_open_filename(tar, path.c_str());
  for (const auto& [name, bytes] : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_size(entry, static_cast<la_int64_t>(bytes.size()));
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_write_header(tar, entry);
    archive_write_data(tar, bytes.data(), bytes.size());
    archive_entry_free(entry);
  }
  archive_write_close(tar);
  archive_write_free(tar);
}

}  // namespace skymm::testing
