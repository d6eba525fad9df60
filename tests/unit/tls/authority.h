#pragma once

#include <filesystem>
#include <string>
#include <vector>

struct evp_pkey_st;

/// An authority of our own for tests: issues certificates into PEM files of a folder that goes with
/// it.
namespace postern::tls::test {

enum class Kind : std::uint8_t { ecdsa, rsa };

struct Files {
    std::string chain;
    std::string key;
};

class Authority {
   public:
    Authority();
    ~Authority();
    Authority(const Authority&) = delete;
    Authority& operator=(const Authority&) = delete;

    /// For those names, good from an hour ago for `days`.
    Files issue(const std::vector<std::string>& names, Kind kind, int days = 30);

    /// The same for a key of the caller's, which is taken over.
    Files issue_for(evp_pkey_st* key, const std::vector<std::string>& names, int days = 30);

    /// A file in the folder with that content.
    std::string file(const std::string& name, const std::string& content);

    /// The authority's own certificate.
    std::string ca_file() const { return (folder_ / "ca.pem").native(); }

   private:
    struct Implementation;
    std::filesystem::path folder_;
    Implementation* implementation_;
    int issued_ = 0;
};

std::string content_of(const std::string& file);

}  // namespace postern::tls::test
