#include "queue_printer.h"

#include <cstdio>

#include <fmt/format.h>

#include "queue_rows.h"

namespace postern::app {

int complain(int code, std::string_view what) {
    fmt::print(stderr, "postern: {}\n", what);
    return code;
}

void QueuePrinter::print(const nlohmann::json& message) {
    if (json_) {
        fmt::print("{}{}", count_ == 0 ? "[" : ",\n ", line_of(message));
    } else if (whole_) {
        fmt::print("{}", queue_details(message));
    } else {
        fmt::print("{}{}", count_ == 0 ? queue_heading() : "", queue_entry(message));
    }
    ++count_;
}

void QueuePrinter::end(bool more) const {
    if (json_) {
        fmt::print("{}]\n", count_ == 0 ? "[" : "");
    } else if (!whole_) {
        fmt::print("{}{}\n", messages_text(count_), more ? ", and there are more" : "");
    }
}

}  // namespace postern::app
