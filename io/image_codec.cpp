// libjpeg and libpng report errors by longjmp: every function here that calls setjmp owns nothing with a destructor.
// clang-format off
#include <cstdio>  // jpeglib.h needs it and does not include it
#include <jpeglib.h>
#include <jerror.h>
// clang-format on
#include <png.h>
#include <webp/decode.h>

#include <algorithm>
#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/error.hpp"
#include "io/image.hpp"
#include "io/image_format.hpp"

namespace skymm {
namespace {

// ---- PNG

struct PngSession {
  std::jmp_buf escape;
  char reason[128] = "";
  const unsigned char* next = nullptr;  // reading
  std::size_t left = 0;
  std::string* out = nullptr;  // writing
};

void png_failed(png_structp png, png_const_charp message) {
  auto* session = static_cast<PngSession*>(png_get_error_ptr(png));
  std::snprintf(session->reason, sizeof session->reason, "%s", message);
  std::longjmp(session->escape, 1);
}

void png_ignored(png_structp, png_const_charp) {}

void png_take(png_structp png, png_bytep to, std::size_t bytes) {
  auto* session = static_cast<PngSession*>(png_get_io_ptr(png));
  if (bytes > session->left) png_error(png, "the file is truncated");
  std::memcpy(to, session->next, bytes);
  session->next += bytes;
  session->left -= bytes;
}

void png_put(png_structp png, png_bytep from, std::size_t bytes) {
  static_cast<PngSession*>(png_get_io_ptr(png))->out->append(reinterpret_cast<const char*>(from), bytes);
}

// False on error, as the following.
bool png_header(PngSession& session, png_structp png, png_infop info) {
  if (setjmp(session.escape)) return false;
  png_set_user_limits(png, 0x7fffffff, 0x7fffffff);
  png_read_info(png, info);
  return true;
}

// Transformations to 8-bit RGBA. Makes room for rows: their size must have been checked.
bool png_start(PngSession& session, png_structp png, png_infop info) {
  if (setjmp(session.escape)) return false;
  png_set_expand(png);
  png_set_strip_16(png);
  png_set_gray_to_rgb(png);
  png_set_add_alpha(png, 255, PNG_FILLER_AFTER);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return true;
}

bool png_rows(PngSession& session, png_structp png, png_bytepp rows) {
  if (setjmp(session.escape)) return false;
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

struct PngReader {
  PngSession session;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &session, png_failed, png_ignored);
  png_infop info = png ? png_create_info_struct(png) : nullptr;
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
};

ImageRgba decode_png(std::string_view bytes, std::int64_t max_pixels) {
  PngReader reader;
  check(reader.info, "libpng: out of memory");
  reader.session.next = reinterpret_cast<const unsigned char*>(bytes.data());
  reader.session.left = bytes.size();
  png_set_read_fn(reader.png, &reader.session, png_take);
  check(png_header(reader.session, reader.png, reader.info), "PNG picture: {}", reader.session.reason);
  ImageRgba image;
  check_image_size("PNG", png_get_image_width(reader.png, reader.info), png_get_image_height(reader.png, reader.info),
                   max_pixels);
  check(png_start(reader.session, reader.png, reader.info), "PNG picture: {}", reader.session.reason);
  image.width = static_cast<int>(png_get_image_width(reader.png, reader.info));
  image.height = static_cast<int>(png_get_image_height(reader.png, reader.info));
  check(png_get_rowbytes(reader.png, reader.info) == static_cast<std::size_t>(image.width) * 4,
        "PNG picture: unexpected row size");
  image.rgba.resize(static_cast<std::size_t>(image.width) * image.height * 4);
  std::vector<png_bytep> rows(static_cast<std::size_t>(image.height));
  for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = image.rgba.data() + y * image.width * 4;
  check(png_rows(reader.session, reader.png, rows.data()), "PNG picture: {}", reader.session.reason);
  return image;
}

struct PngWriter {
  PngSession session;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &session, png_failed, png_ignored);
  png_infop info = png ? png_create_info_struct(png) : nullptr;
  ~PngWriter() { png_destroy_write_struct(&png, &info); }
};

bool png_write(PngWriter& writer, const Image& image, png_bytepp rows, int level) {
  if (setjmp(writer.session.escape)) return false;
  png_set_IHDR(writer.png, writer.info, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height),
               8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_set_compression_level(writer.png, level);
  png_set_filter(writer.png, 0, level > 2 ? PNG_ALL_FILTERS : PNG_FILTER_SUB);
  png_write_info(writer.png, writer.info);
  png_write_image(writer.png, rows);
  png_write_end(writer.png, nullptr);
  return true;
}

// ---- JPEG

struct JpegSession {
  jpeg_error_mgr manager;  // first: libjpeg hands back a pointer to it
  std::jmp_buf escape;
  char reason[JMSG_LENGTH_MAX] = "";
};

[[noreturn]] void jpeg_failed(j_common_ptr info) {
  auto* session = reinterpret_cast<JpegSession*>(info->err);
  session->manager.format_message(info, session->reason);
  std::longjmp(session->escape, 1);
}

// libjpeg fills a truncated picture with grey and goes on; here that is an error, other warnings are not.
void jpeg_warned(j_common_ptr info, int level) {
  if (level >= 0) return;
  const int code = info->err->msg_code;
  if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE) jpeg_failed(info);
}

void jpeg_session(JpegSession& session) {
  jpeg_std_error(&session.manager);
  session.manager.error_exit = jpeg_failed;
  session.manager.emit_message = jpeg_warned;
}

// The least of 8, 4, 2 and 1 eighths at which both sides stay at least `least_side`; 0: the whole size.
unsigned jpeg_eighths(const jpeg_decompress_struct& info, int least_side) {
  if (least_side <= 0) return 8;
  for (const unsigned eighths : {1U, 2U, 4U}) {
    const auto shorter = static_cast<std::int64_t>(std::min(info.image_width, info.image_height));
    if (shorter * eighths >= 8 * std::int64_t{least_side}) return eighths;
  }
  return 8;
}

bool jpeg_header(JpegSession& session, jpeg_decompress_struct& info, std::string_view bytes, int channels,
                 int least_side) {
  if (setjmp(session.escape)) return false;
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(&info, TRUE);
  const bool four_inks = info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
  info.out_color_space = four_inks ? JCS_CMYK : channels == 4 ? JCS_EXT_RGBA : JCS_RGB;
  info.scale_num = jpeg_eighths(info, least_side);
  info.scale_denom = 8;
  jpeg_calc_output_dimensions(&info);
  return true;
}

bool jpeg_rows(JpegSession& session, jpeg_decompress_struct& info, std::uint8_t* out) {
  if (setjmp(session.escape)) return false;
  jpeg_start_decompress(&info);
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = out + static_cast<std::size_t>(info.output_scanline) * info.output_width *
                             static_cast<std::size_t>(info.output_components);
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  return true;
}

struct JpegReader {
  JpegSession session;
  jpeg_decompress_struct info{};
  JpegReader() {
    jpeg_session(session);
    info.err = &session.manager;
  }
  ~JpegReader() { jpeg_destroy_decompress(&info); }
};

struct Pixels {
  int width = 0, height = 0;
  std::vector<std::uint8_t> bytes;  // [height, width, channels]
};

// Adobe writes inks inverted (255: none); others write them straight.
std::vector<std::uint8_t> from_inks(const std::vector<std::uint8_t>& inks, int channels, bool adobe) {
  const unsigned flip = adobe ? 0 : 255;
  std::vector<std::uint8_t> out(inks.size() / 4 * static_cast<std::size_t>(channels), 255);
  for (std::size_t i = 0, o = 0; i < inks.size(); i += 4, o += static_cast<std::size_t>(channels)) {
    const unsigned black = inks[i + 3] ^ flip;
    for (std::size_t c = 0; c < 3; ++c)
      out[o + c] = static_cast<std::uint8_t>(((inks[i + c] ^ flip) * black + 127) / 255);
  }
  return out;
}

// channels: 3, or 4 with an alpha of 255.
Pixels decode_jpeg(std::string_view bytes, std::int64_t max_pixels, int channels, int least_side) {
  JpegReader reader;
  check(jpeg_header(reader.session, reader.info, bytes, channels, least_side), "JPEG picture: {}",
        reader.session.reason);
  check_image_size("JPEG", reader.info.image_width, reader.info.image_height, max_pixels);
  Pixels image{static_cast<int>(reader.info.output_width), static_cast<int>(reader.info.output_height), {}};
  const bool inks = reader.info.out_color_space == JCS_CMYK;
  image.bytes.resize(static_cast<std::size_t>(image.width) * image.height * (inks ? 4 : channels));
  check(jpeg_rows(reader.session, reader.info, image.bytes.data()), "JPEG picture: {}", reader.session.reason);
  if (inks) image.bytes = from_inks(image.bytes, channels, reader.info.saw_Adobe_marker);
  return image;
}

bool jpeg_write(JpegSession& session, jpeg_compress_struct& info, const Image& image, int quality,
                unsigned char** buffer, unsigned long* size) {
  if (setjmp(session.escape)) return false;
  jpeg_create_compress(&info);
  jpeg_mem_dest(&info, buffer, size);
  info.image_width = static_cast<JDIMENSION>(image.width);
  info.image_height = static_cast<JDIMENSION>(image.height);
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, quality, TRUE);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    JSAMPROW row = const_cast<std::uint8_t*>(image.at(0, static_cast<int>(info.next_scanline)));
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  return true;
}

struct JpegWriter {
  JpegSession session;
  jpeg_compress_struct info{};
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  JpegWriter() {
    jpeg_session(session);
    info.err = &session.manager;
  }
  ~JpegWriter() {
    jpeg_destroy_compress(&info);
    std::free(buffer);
  }
};

// ---- WebP

ImageRgba decode_webp(std::string_view bytes, std::int64_t max_pixels) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  WebPBitstreamFeatures features;
  const VP8StatusCode status = WebPGetFeatures(data, bytes.size(), &features);
  check(status == VP8_STATUS_OK, "WebP picture: {}",
        status == VP8_STATUS_NOT_ENOUGH_DATA ? "the file is truncated" : "the header is corrupt");
  check(!features.has_animation, "WebP picture: animations are not read; extract one frame");
  check_image_size("WebP", features.width, features.height, max_pixels);
  ImageRgba image{features.width, features.height, {}};
  image.rgba.resize(static_cast<std::size_t>(image.width) * image.height * 4);
  check(WebPDecodeRGBAInto(data, bytes.size(), image.rgba.data(), image.rgba.size(), image.width * 4) != nullptr,
        "WebP picture: the data are truncated or corrupt");
  return image;
}

void check_encodable(const Image& image) {
  check(image.width > 0 && image.height > 0 &&
            image.rgb.size() == static_cast<std::size_t>(image.width) * image.height * 3,
        "cannot encode a picture of {}x{} pixels with {} bytes", image.width, image.height, image.rgb.size());
}

}  // namespace

void check_image_size(const char* format, std::int64_t width, std::int64_t height, std::int64_t max_pixels) {
  check(width > 0 && height > 0, "{} picture of {}x{} pixels", format, width, height);
  check(width <= max_pixels / height, "{} picture of {}x{} pixels; at most {} pixels are accepted", format, width,
        height, max_pixels);
}

ImageFormat image_format(std::string_view bytes) {
  using namespace std::string_view_literals;
  if (bytes.starts_with("\xff\xd8\xff"sv)) return ImageFormat::jpeg;
  if (bytes.starts_with("\x89PNG\r\n\x1a\n"sv)) return ImageFormat::png;
  if (bytes.size() >= 12 && bytes.starts_with("RIFF"sv) && bytes.substr(8, 4) == "WEBP"sv) return ImageFormat::webp;
  check(!bytes.empty(), "the picture is empty (0 bytes)");
  fail("the picture is neither JPEG, PNG nor WebP (its {} bytes start with {:02x} {:02x})", bytes.size(),
       static_cast<unsigned char>(bytes[0]), bytes.size() > 1 ? static_cast<unsigned char>(bytes[1]) : 0);
}

ImageRgba decode_image_rgba(std::string_view bytes, std::int64_t max_pixels) {
  const ImageFormat format = image_format(bytes);
  if (format == ImageFormat::png) return decode_png(bytes, max_pixels);
  if (format == ImageFormat::webp) return decode_webp(bytes, max_pixels);
  Pixels pixels = decode_jpeg(bytes, max_pixels, 4, 0);
  return {pixels.width, pixels.height, std::move(pixels.bytes)};
}

Image decode_image_reduced(std::string_view bytes, int least_side, std::int64_t max_pixels) {
  Image image;
  if (image_format(bytes) == ImageFormat::jpeg) {  // has no alpha to be composited
    Pixels pixels = decode_jpeg(bytes, max_pixels, 3, least_side);
    image.width = pixels.width;
    image.height = pixels.height;
    image.rgb = std::move(pixels.bytes);
    return image;
  }
  const ImageRgba with_alpha = decode_image_rgba(bytes, max_pixels);
  image = Image(with_alpha.width, with_alpha.height);
  composite(image, with_alpha, 0, 0);
  return image;
}

Image decode_image(std::string_view bytes, std::int64_t max_pixels) {
  return decode_image_reduced(bytes, 0, max_pixels);
}

std::string encode_png(const Image& image, int level) {
  check_encodable(image);
  check(level >= 0 && level <= 9, "PNG compression level {}: 0 to 9", level);
  std::string out;
  PngWriter writer;
  check(writer.info, "libpng: out of memory");
  writer.session.out = &out;
  png_set_write_fn(writer.png, &writer.session, png_put, nullptr);
  std::vector<png_bytep> rows(static_cast<std::size_t>(image.height));
  for (int y = 0; y < image.height; ++y) rows[static_cast<std::size_t>(y)] = const_cast<png_bytep>(image.at(0, y));
  check(png_write(writer, image, rows.data(), level), "PNG encoding: {}", writer.session.reason);
  return out;
}

std::string encode_jpeg(const Image& image, int quality) {
  check_encodable(image);
  check(quality >= 1 && quality <= 100, "JPEG quality {}: 1 to 100", quality);
  JpegWriter writer;
  check(jpeg_write(writer.session, writer.info, image, quality, &writer.buffer, &writer.size), "JPEG encoding: {}",
        writer.session.reason);
  return {reinterpret_cast<const char*>(writer.buffer), writer.size};
}

}  // namespace skymm
