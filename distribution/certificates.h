// certs.d: authorities and client certificates of single registries (containers-certs.d.5).
#pragma once

#include <string>

namespace img::distribution {

struct Certificates {
  std::string authorities;       // PEM of all *.crt
  std::string certificate, key;  // PEM of the first *.cert with its *.key
};

// Of `certDir` itself when one is given, else of the first certs.d/HOST there is:
// ~/.config/containers, /etc/containers, /etc/docker. Throws Kind::usage for half a pair.
Certificates readCertificates(const std::string& host, const std::string& certDir);

}  // namespace img::distribution
