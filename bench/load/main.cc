#include <CLI/CLI.hpp>

#include <sys/resource.h>

#include <map>
#include <string>
#include <vector>

#include "bench/load/attack.h"
#include "bench/load/delay.h"
#include "bench/load/load.h"
#include "bench/load/relay.h"
#include "bench/load/sink.h"
#include "postern/base/units.h"

/// postern-bench: the command line of load, sink, delay, relay and attack.
namespace {

using namespace postern;
using namespace postern::bench;

constexpr int usage_error = 2;

io::Address address_from(const std::string& text) {
    const auto address = io::Address::parse(text);
    if (!address) {
        throw CLI::ValidationError(text + " is no ADDRESS:PORT");
    }
    return *address;
}

std::vector<io::Address> addresses_from(const std::vector<std::string>& texts) {
    std::vector<io::Address> addresses;
    for (const std::string& text : texts) {
        addresses.push_back(address_from(text));
    }
    return addresses;
}

base::Duration duration_from(const std::string& text) {
    const auto duration = base::parse_duration(text);
    if (!duration) {
        throw CLI::ValidationError(
            "'" + text + "' is no duration: \"500 ms\", \"20 s\", \"5 min\"");
    }
    return *duration;
}

/// "4096", "4096 B", "64 KiB".
std::uint64_t size_from(const std::string& text) {
    const bool digits = text.find_first_not_of("0123456789") == std::string::npos;
    const auto size = base::parse_size(digits ? text + " B" : text);
    if (!size) {
        throw CLI::ValidationError("'" + text + "' is no size: 4096, \"64 KiB\", \"1 MiB\"");
    }
    return *size;
}

/// `tls` on the command line.
CLI::CheckedTransformer tls_names() {
    return CLI::CheckedTransformer(std::map<std::string, Tls>{
        {"none", Tls::none}, {"starttls", Tls::starttls}, {"implicit", Tls::implicit}});
}

template <class T>
T value_or_usage(base::Result<T> result) {
    if (!result.ok()) {
        throw CLI::ValidationError(result.error().text);
    }
    return *result;
}

class LoadCommand {
   public:
    explicit LoadCommand(CLI::App& parent)
        : app_(parent.add_subcommand("load", "Offers load to a gateway.")) {
        app_->add_option(
                "target", targets_, "ADDRESS:PORT of the gateway; several are taken in turn")
            ->default_val("127.0.0.1:2525");
        app_->add_option("-c,--connections", options_.connections, "at the same time")
            ->default_val(1)
            ->check(CLI::Range(1, 1000000));
        app_->add_option(
            "-m,--messages", options_.messages, "how many in all (1 without --duration)");
        app_->add_option("-d,--duration", duration_, "starts messages for so long: \"10 s\"");
        app_->add_option(
            "--per-connection",
            options_.messages_per_connection,
            "messages on a connection, then QUIT and a new one; 0: no limit");
        app_->add_option(
            "--rate",
            options_.rate,
            "messages a second in an open loop: latency counts from the intended start");
        app_->add_option("--size", size_, "octets of a message")->default_val("4096");
        app_->add_option(
                "--messages-from",
                options_.messages_made.folder,
                "sends the files of this folder, octet for octet")
            ->check(CLI::ExistingDirectory);
        app_->add_flag(
            "--repaired",
            options_.messages_made.repaired,
            "expects bare CR and LF of these files repaired as Postern's \"normalize\" does");
        app_->add_option("--domains", domains_, "file of recipient domains, one a line")
            ->check(CLI::ExistingFile);
        app_->add_flag(
            "--random", options_.recipients.random, "takes domains at random, not in turn");
        app_->add_option("--seed", options_.recipients.seed, "for --random")->default_val(1);
        app_->add_option(
                "--recipient",
                options_.recipients.pattern,
                "%n: the message's number, %i: the recipient's in it, %d: a domain")
            ->default_val(options_.recipients.pattern);
        app_->add_option("--recipients", options_.recipients.per_message, "of each message")
            ->default_val(1)
            ->check(CLI::Range(1, 100000));
        app_->add_option("--from", options_.sender.from_domain, "domain of the reverse-path")
            ->default_val(options_.sender.from_domain);
        auto* bdat = app_->add_flag("--bdat", options_.sender.bdat, "sends by BDAT, not by DATA");
        app_->add_option(
                "--chunk-size", chunk_size_, "octets of a BDAT chunk; default: the message in one")
            ->needs(bdat);
        app_->add_flag(
            "!--no-pipelining",
            options_.sender.pipelining,
            "waits for each answer, whatever is offered");
        app_->add_option("--source", sources_, "local addresses to connect from, taken in turn")
            ->delimiter(',')
            ->allow_extra_args(false);
        app_->add_option("--slow", slow_, "octets a second that a connection sends at most");
        app_->add_option(
                "--tls", options_.tls, "TLS 1.3: none, starttls, implicit; any certificate will do")
            ->transform(tls_names());
        app_->add_flag(
            "--resume", options_.resume, "a connection resumes the TLS session of the one before");
        app_->add_option("--helo", options_.sender.helo, "name in EHLO")
            ->default_val(options_.sender.helo);
        app_->add_option("--timeout", timeout_, "for each answer")->default_val("60 s");
        app_->add_option(
                "--sink",
                sinks_,
                "control addresses of the sinks behind the gateway: asked at the end what came")
            ->allow_extra_args(false);
        app_->add_option("--settle", settle_, "waits so long for accepted messages to come")
            ->default_val("2 s");
        app_->add_option(
            "--below", below_, "reports the times shorter than this, \"2 s\", once more alone");
        app_->add_option("--workers", options_.workers, "threads, a ring each")
            ->default_val(1)
            ->check(CLI::Range(1, 64));
        app_->add_flag("--json", options_.json, "reports in JSON");
    }

    bool chosen() const { return app_->parsed(); }

    int run() {
        options_.targets = addresses_from(targets_);
        for (const std::string& source : sources_) {
            const auto address = io::Address::parse(source, 0);
            if (!address) {
                throw CLI::ValidationError(source + " is no address");
            }
            options_.sources.push_back(*address);
        }
        options_.sinks = addresses_from(sinks_);
        options_.messages_made.size = size_from(size_);
        options_.sender.chunk_size = chunk_size_.empty() ? 0 : size_from(chunk_size_);
        options_.octets_per_second = slow_.empty() ? 0 : size_from(slow_);
        options_.timeout = duration_from(timeout_);
        options_.settle = duration_from(settle_);
        if (!below_.empty()) {
            options_.below = duration_from(below_);
        }
        if (!duration_.empty()) {
            options_.duration = duration_from(duration_);
        } else if (options_.messages == 0) {
            options_.messages = 1;
        }
        if (!domains_.empty()) {
            options_.recipients.domains = value_or_usage(read_domains(domains_));
        }
        if (options_.recipients.per_message > 1 &&
            options_.recipients.pattern.find("%i") == std::string::npos) {
            throw CLI::ValidationError(
                "--recipient needs %i where a message has several recipients");
        }
        return run_load(std::move(options_));
    }

   private:
    CLI::App* app_;
    LoadOptions options_;
    std::vector<std::string> targets_, sources_, sinks_;
    std::string duration_, size_, chunk_size_, slow_, timeout_, settle_, domains_, below_;
};

class SinkCommand {
   public:
    explicit SinkCommand(CLI::App& parent)
        : app_(parent.add_subcommand("sink", "A smart host that swallows, counts and checks.")) {
        ReceiverOptions& receiver = options_.receiver;
        app_->add_option("listen", listen_, "ADDRESS:PORT, several; port 0: a free one")
            ->default_val("127.0.0.1:2626");
        app_->add_option("--control", control_, "ADDRESS:PORT where `load --sink` asks what came");
        app_->add_option(
                "--received",
                receiver.received_lines,
                "Received: lines in front of each message that are not the sender's")
            ->default_val(0);
        app_->add_option("--hostname", receiver.hostname, "in the greeting")
            ->default_val(receiver.hostname);
        app_->add_flag("!--no-pipelining", receiver.pipelining, "does not offer PIPELINING");
        app_->add_flag("!--no-chunking", receiver.chunking, "does not offer CHUNKING");
        app_->add_flag(
            "--break-chunking",
            receiver.break_chunking,
            "offers CHUNKING, and does not understand BDAT");
        app_->add_flag("!--no-8bitmime", receiver.eight_bit_mime, "does not offer 8BITMIME");
        app_->add_flag("!--no-smtputf8", receiver.smtputf8, "does not offer SMTPUTF8");
        app_->add_option("--size", size_, "offers SIZE with this limit, and holds it");
        app_->add_option(
            "--limits", receiver.limits, "offers LIMITS with this parameter: RCPTMAX=10");
        app_->add_option(
                "--fail",
                failures_,
                "STEP:CODE, STEP:close or STEP:silent, and :PROBABILITY; steps: greeting ehlo "
                "starttls mail rcpt "
                "data bdat body rset quit")
            ->allow_extra_args(false);
        app_->add_option(
                "--delay", delays_, "STEP:MILLISECONDS, and :PROBABILITY: the answer comes so late")
            ->allow_extra_args(false);
        app_->add_option(
                "--reject-rcpt",
                rejections_,
                "PATTERN:CODE, * standing for any text: refuses these recipients")
            ->allow_extra_args(false);
        auto* tls = app_->add_option("--tls", options_.tls, "TLS 1.3: none, starttls, implicit")
                        ->transform(tls_names());
        auto* chain =
            app_->add_option("--chain", options_.chain, "PEM file: the certificate for --tls")
                ->check(CLI::ExistingFile);
        auto* key =
            app_->add_option("--key", options_.key, "PEM file: its key")->check(CLI::ExistingFile);
        tls->needs(chain)->needs(key);
        app_->add_option(
            "--store", options_.store_folder, "writes each message into a file of this folder");
        app_->add_option("--count", options_.count, "ends after so many messages");
        app_->add_option("--workers", options_.workers, "threads, a ring each")
            ->default_val(1)
            ->check(CLI::Range(1, 64));
        app_->add_flag("--json", options_.json, "reports in JSON");
    }

    bool chosen() const { return app_->parsed(); }

    int run() {
        ReceiverOptions& receiver = options_.receiver;
        options_.listen = addresses_from(listen_);
        if (!control_.empty()) {
            options_.control = address_from(control_);
        }
        receiver.size_max = size_.empty() ? 0 : size_from(size_);
        receiver.chunking = receiver.chunking || receiver.break_chunking;
        for (const std::string& text : failures_) {
            receiver.faults.push_back(value_or_usage(parse_failure(text)));
        }
        for (const std::string& text : delays_) {
            receiver.faults.push_back(value_or_usage(parse_delay(text)));
        }
        for (const std::string& text : rejections_) {
            receiver.rejections.push_back(value_or_usage(parse_rejection(text)));
        }
        return run_sink(std::move(options_));
    }

   private:
    CLI::App* app_;
    SinkOptions options_;
    std::vector<std::string> listen_, failures_, delays_, rejections_;
    std::string control_, size_;
};

class DelayCommand {
   public:
    explicit DelayCommand(CLI::App& parent)
        : app_(parent.add_subcommand(
              "delay", "A TCP relay that holds all octets for a while, each way.")) {
        app_->add_option("--listen", listen_, "ADDRESS:PORT; port 0: a free one")->required();
        app_->add_option("--to", to_, "ADDRESS:PORT")->required();
        app_->add_option("--ms", ms_, "milliseconds, each way")->default_val(10);
    }

    bool chosen() const { return app_->parsed(); }

    int run() {
        return run_delay(
            {address_from(listen_), address_from(to_), std::chrono::milliseconds(ms_)});
    }

   private:
    CLI::App* app_;
    std::string listen_, to_;
    unsigned ms_ = 10;
};

class RelayCommand {
   public:
    explicit RelayCommand(CLI::App& parent)
        : app_(parent.add_subcommand(
              "relay", "The least that takes a message whole and passes it on: a yardstick.")) {
        app_->add_option("--listen", listen_, "ADDRESS:PORT; port 0: a free one")->required();
        app_->add_option("--to", to_, "ADDRESS:PORT of the smart host")->required();
    }

    bool chosen() const { return app_->parsed(); }

    int run() { return run_relay({address_from(listen_), address_from(to_)}); }

   private:
    CLI::App* app_;
    std::string listen_, to_;
};

class AttackCommand {
   public:
    explicit AttackCommand(CLI::App& parent)
        : app_(parent.add_subcommand(
              "attack", "Senders that mean harm: slow ones, and such that throw garbage.")) {
        app_->add_option("target", target_, "ADDRESS:PORT of the gateway")->required();
        app_->add_option("--slow", options_.slow, "how many are slow")->default_val(5000);
        app_->add_option("--garbage", options_.garbage, "how many throw garbage")->default_val(500);
    }

    bool chosen() const { return app_->parsed(); }

    int run() {
        options_.target = address_from(target_);
        return run_attack(options_);
    }

   private:
    CLI::App* app_;
    std::string target_;
    AttackOptions options_;
};

/// As many connections as may be had.
void raise_descriptor_limit() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int count, char** arguments) {
    CLI::App app(
        "Load for SMTP gateways, a sink behind them, and a wire as long as wanted.",
        "postern-bench");
    app.require_subcommand(1);
    LoadCommand load(app);
    SinkCommand sink(app);
    DelayCommand delay(app);
    RelayCommand relay(app);
    AttackCommand attack(app);
    try {
        app.parse(count, arguments);
        raise_descriptor_limit();
        if (load.chosen()) {
            return load.run();
        }
        if (sink.chosen()) {
            return sink.run();
        }
        if (attack.chosen()) {
            return attack.run();
        }
        return delay.chosen() ? delay.run() : relay.run();
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : usage_error;
    }
}
