// Watches names and says what it hears of them: the resolver as names.py sees it.
//
// usage: watch_names SERVERS TIMEOUT_MS TRIES
// Each line of the standard input is a set of questions ("address:mx1.example.net mx:example.net")
// that replaces the one before; its end ends the program. Each answer is a line of the standard
// output with the fields question, kind, hosts ("10 mx1.example.net 192.0.2.1;…") and trouble,
// separated by tabs.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>

#include <fmt/format.h>

#include "postern/names/resolver.h"

namespace {

using namespace postern;

constexpr const char* kinds[] = {
    "hosts", "null_mx", "no_such_name", "no_addresses", "failed", "ourselves"};

base::Instant now() {
    return base::Instant(std::chrono::steady_clock::now().time_since_epoch());
}

void say(const names::Question& question, const std::shared_ptr<const names::Answer>& answer) {
    std::string hosts;
    for (const names::Host& host : answer->hosts) {
        hosts += fmt::format("{}{} {}", hosts.empty() ? "" : ";", host.preference, host.name);
        for (const base::IpAddress& address : host.addresses) {
            hosts += " " + address.text();
        }
    }
    fmt::print(
        "{}:{}\t{}\t{}\t{}\n",
        question.kind == names::Question::Kind::mx ? "mx" : "address",
        question.name,
        kinds[static_cast<std::size_t>(answer->kind)],
        hosts,
        answer->trouble);
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        return 2;
    }
    names::Resolver::Options options;
    options.servers = argv[1];
    options.timeout = std::chrono::milliseconds(std::atoi(argv[2]));
    options.tries = std::atoi(argv[3]);
    auto resolver = names::Resolver::start(options, now, say);
    if (!resolver) {
        fmt::print(stderr, "{}\n", resolver.error().text);
        return 1;
    }
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::vector<names::Question> questions;
        for (std::string word; words >> word;) {
            const std::size_t colon = word.find(':');
            questions.push_back(
                {word.substr(0, colon) == "mx" ? names::Question::Kind::mx
                                               : names::Question::Kind::address,
                 word.substr(colon + 1)});
        }
        (*resolver)->watch(std::move(questions));
    }
    return 0;
}
