import GuestProcessor
import GuestRunner
import PagingUnits
import VirtualMachine

/// A way to run a guest that `compare` knows by name.
enum ComparedMode: String, CaseIterable {
  case shadow
  case shadow4K = "shadow-4k"
  case shadowLocal = "shadow-local"
  case ept4K = "ept-4k"
  case ept2M = "ept-2m"
  case ept1G = "ept-1g"
  case npt4K = "npt-4k"
  case npt2M = "npt-2m"
  case npt1G = "npt-1g"

  /// What the contract compares.
  static let usual = [ComparedMode.shadow, .ept4K, .ept2M, .npt4K, .npt2M]

  /// Whether the tables take the place of the guest's own.
  var isShadow: Bool {
    switch self {
    case .shadow, .shadow4K, .shadowLocal: true
    default: false
    }
  }

  /// The modes of a list with commas between; throws a sentence.
  static func list(_ text: String) throws -> [ComparedMode] {
    let known = allCases.map(\.rawValue).joined(separator: ", ")
    let modes = try text.split(separator: ",", omittingEmptySubsequences: false).map { name in
      guard let mode = ComparedMode(rawValue: name.filter { $0 != " " }) else {
        throw Failure("--modes \(text): \"\(name)\" is none of \(known)")
      }
      return mode
    }
    for mode in modes where modes.filter({ $0 == mode }).count > 1 {
      throw Failure("--modes \(text): \"\(mode.rawValue)\" once was expected")
    }
    return modes
  }

  /// Makes a configuration this mode's.
  ///
  /// The guest sees the same processor in every mode: one without protection keys, which shadow
  /// paging does not offer.
  func apply(to run: inout RunConfiguration) {
    run.mmu = isShadow ? .shadow : .direct
    run.specialRoots = self == .shadowLocal ? .localPages : .tables
    run.features.paging.remove(.protectionKeys)
    switch self {
    case .npt4K, .npt2M, .npt1G: run.hostVendor = .amd
    default: run.hostVendor = .intel
    }
    switch self {
    case .shadow4K, .ept4K, .npt4K: run.backing = .page4K
    case .shadow, .shadowLocal, .ept2M, .npt2M: run.backing = .page2M
    case .ept1G, .npt1G: run.backing = .page1G
    }
  }
}
