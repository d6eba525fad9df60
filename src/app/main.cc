#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <functional>
#include <string>

#include <CLI/CLI.hpp>

#include "commands.h"
#include "postern/config/parse.h"
#include "say.h"

namespace {

using postern::shard::QueueChange;

constexpr const char* admin_help =
    "its admin address, unix:PATH or ADDRESS:PORT; default: that of FILE";

/// What is wrong with it, in fewer digits than CLI::PositiveNumber; empty: nothing.
std::string no_count(const std::string& text) {
    std::uint64_t count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    const bool good = error == std::errc{} && end == text.data() + text.size() && count != 0;
    return good ? "" : text + " is no count; allowed: 1 or more";
}

/// `postern queue`, with its own commands.
class Queue {
   public:
    /// `file` outlives it.
    Queue(CLI::App& app, const std::string& file, const std::function<void(CLI::App*)>& add_file)
        : file_(file),
          queue_(app.add_subcommand(
              "queue", "shows the mail that waits in the running Postern, and changes it")),
          add_file_(add_file) {
        queue_->require_subcommand(1);
        list_ =
            add("list", "the messages that wait, or those that a filter means, the oldest first");
        add_filters(list_);
        list_->add_option("--limit", command_.limit, "no more than so many; default: all")
            ->check(no_count)
            ->type_name("COUNT");
        show_ = add("show", "all that is known of these messages, but their content");
        add_ids(show_)->required();
        for (CLI::App* const command : {list_, show_}) {
            command->add_flag("--json", command_.json, "as JSON");
        }
        retry_ = add_change("retry", "has them tried as soon as their smart host takes mail");
        hold_ = add_change("hold", "keeps them, and does not try them until they are released");
        release_ = add_change("release", "ends that");
        remove_ = add_change(
            "remove", "takes them out for good; their senders are not told, but with --notify");
        remove_->add_flag(
            "--notify", command_.notify, "sends the senders a delivery status notification");
        export_ = queue_->add_subcommand(
            "export", "writes the messages of a spool that no process has open as files");
        add_file_(export_);
        export_
            ->add_option(
                "folder", folder_, "gets ID.eml, the message, and ID.json, its envelope, for each")
            ->required()
            ->type_name("FOLDER");
        add_filters(export_);
    }

    bool parsed() const { return queue_->parsed(); }

    int run() const {
        const std::pair<CLI::App*, QueueChange> changes[] = {
            {retry_, QueueChange::retry},
            {hold_, QueueChange::hold},
            {release_, QueueChange::release},
            {remove_, QueueChange::remove}};
        for (const auto& [command, change] : changes) {
            if (command->parsed()) {
                return postern::app::queue_change(file_, change, command_);
            }
        }
        if (export_->parsed()) {
            return postern::app::queue_export(file_, command_, folder_);
        }
        return list_->parsed() ? postern::app::queue_list(file_, command_)
                               : postern::app::queue_show(file_, command_);
    }

   private:
    CLI::App* add(const char* name, const char* help) {
        CLI::App* const command = queue_->add_subcommand(name, help);
        add_file_(command);
        command->add_option("--admin", command_.admin, admin_help)->type_name("ADDRESS");
        return command;
    }

    CLI::App* add_change(const char* name, const char* help) {
        CLI::App* const command = add(name, help);
        add_filters(command);
        command->add_flag("--all", command_.all, "without a filter: every message");
        command->add_flag("--json", command_.json, "as JSON");
        return command;
    }

    CLI::Option* add_ids(CLI::App* command) {
        return command->add_option("id", command_.words.ids, "these messages")->type_name("ID");
    }

    void add_filters(CLI::App* command) {
        postern::app::QueueWords& words = command_.words;
        add_ids(command);
        command
            ->add_option(
                "--domain",
                words.domain,
                "that wait for a recipient there or below; =example.com: not below")
            ->type_name("DOMAIN");
        command
            ->add_option(
                "--sender",
                words.sender,
                "of this sender; @example.com: of that domain; <>: of none")
            ->type_name("ADDRESS");
        command->add_option("--older-than", words.older_than, "that have waited for so long, as 2h")
            ->type_name("AGE");
        command->add_flag("--held", words.held, "that are held");
        if (command == export_) {
            return;  // a spool alone does not know the rules
        }
        command->add_option("--pool", words.pool, "that wait for this pool's smart hosts")
            ->type_name("NAME");
        command->add_flag(
            "--orphaned", words.orphaned, "with a recipient that no rule leads anywhere any more");
    }

    const std::string& file_;
    CLI::App* const queue_;
    const std::function<void(CLI::App*)> add_file_;
    postern::app::QueueCommand command_;
    std::string folder_;
    CLI::App* list_ = nullptr;
    CLI::App* show_ = nullptr;
    CLI::App* retry_ = nullptr;
    CLI::App* hold_ = nullptr;
    CLI::App* release_ = nullptr;
    CLI::App* remove_ = nullptr;
    CLI::App* export_ = nullptr;
};

/// A command has ended well only where all that it said was taken.
int told(int code) {
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) {
        return code;
    }
    // Who closed the pipe, as head does, has what it wanted.
    const bool wanted = errno == EPIPE;
    return wanted
               ? std::max(code, 1)
               : postern::app::complain(1, "standard output did not take all that was to be said");
}

}  // namespace

/// The command line of product.md, section 6. Each command stands in a file of its own.
int main(int argc, char** argv) {
    // What is wrong with a file is an error of the write, here and in all threads: a pipe that is
    // gone, and a size that ulimit does not allow.
    std::signal(SIGPIPE, SIG_IGN);  // NOLINT
    std::signal(SIGXFSZ, SIG_IGN);  // NOLINT

    CLI::App app{"Postern, the gate in front of a mail cluster: an SMTP gateway."};
    app.require_subcommand(1);
    app.set_version_flag("--version", "postern " POSTERN_VERSION);
    app.footer(
        "Exit codes: 0 done; 1 refused or failed; 2 the command line is wrong, or nobody answers.");

    std::string file = postern::app::default_config_file;
    const auto add_file = [&file](CLI::App* command) {
        command->add_option("-c,--config", file, "configuration file")
            ->capture_default_str()
            ->type_name("FILE");
    };

    CLI::App* run = app.add_subcommand("run", "serves, in the foreground, until SIGTERM");
    add_file(run);

    postern::app::CheckOptions check_options;
    CLI::App* check = app.add_subcommand(
        "check", "validates configuration and rules; exit code 1 and a line for every error");
    add_file(check);
    check->add_flag(
        "--connect",
        check_options.connect,
        "also asks every smart host for its greeting; one that does not answer is a warning");
    std::vector<std::string> postfix_files;
    check
        ->add_option(
            "--from-postfix",
            postfix_files,
            "instead prints the rules that equal a Postfix transport map (its source text); with "
            "the file of relay_domains beside it, who may send is as there, too")
        ->type_name("FILE");

    postern::app::RouteOptions route_options;
    CLI::App* route =
        app.add_subcommand("route", "explains where mail for an address goes, and why");
    add_file(route);
    route->add_option("address", route_options.addresses, "recipients: user@domain, or postmaster")
        ->required()
        ->type_name("ADDRESS");
    route->add_option("--from", route_options.from, "decides for a client of this IP address")
        ->type_name("CLIENT-ADDRESS");
    route->add_flag("--json", route_options.json, "as JSON");
    CLI::Option* live = route->add_flag(
        "--live",
        route_options.live,
        "asks the running Postern: its generation, its rules, its hosts' health");
    route
        ->add_option(
            "--admin",
            route_options.admin,
            "with --live: its admin address, unix:PATH or ADDRESS:PORT; default: that of FILE")
        ->needs(live)
        ->type_name("ADDRESS");

    postern::app::ReloadCommand reload_command;
    CLI::App* reload = app.add_subcommand(
        "reload",
        "makes the running Postern read configuration and rules again, and says what that changes; "
        "exit code 1: refused, what was in force stays");
    add_file(reload);
    reload->add_flag(
        "--dry-run", reload_command.dry_run, "says what would change, and changes nothing");
    reload->add_flag(
        "--force", reload_command.force, "also where more rules are gone than rules.shrink_max");
    reload->add_option("--admin", reload_command.admin, admin_help)->type_name("ADDRESS");

    Queue queue(app, file, add_file);

    CLI::App* reference = app.add_subcommand(
        "reference", "prints all configuration keys, with their defaults and ranges");

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    if (run->parsed()) {
        return postern::app::run(file);
    }
    if (check->parsed() && !postfix_files.empty()) {
        return told(postern::app::check_from_postfix(postfix_files));
    }
    if (check->parsed()) {
        return told(postern::app::check(file, check_options));
    }
    if (route->parsed()) {
        return told(postern::app::route(file, route_options));
    }
    if (reload->parsed()) {
        return told(postern::app::reload(file, reload_command));
    }
    if (queue.parsed()) {
        return told(queue.run());
    }
    POSTERN_ASSERT(reference->parsed(), "one command is given");
    std::fputs(postern::config::reference().c_str(), stdout);
    return told(0);
}
