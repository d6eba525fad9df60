#pragma once

#include <span>
#include <string>

#include "postern/metrics/meters.h"

namespace postern::metrics {

/// A certificate of those in force. They come and go with the configuration, so they are no Series.
struct CertificateExpiry {
    std::string file;
    base::WallTime not_after;
};

/// All numbers in Prometheus' text format, version 0.0.4: families in the table's order, series by
/// label. Any thread.
std::string to_text(const Registry& registry, std::span<const CertificateExpiry> certificates = {});

/// A label's value between its quotes.
std::string escape_label(std::string_view value);
/// A HELP line's text.
std::string escape_help(std::string_view text);

}  // namespace postern::metrics
