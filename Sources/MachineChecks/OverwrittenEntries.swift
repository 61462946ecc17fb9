import HardwareModel
import PagingUnits

/// What the guest's memory held before it was stored to, and what each processor has been made to
/// forget since: a page table out of sync may lawfully serve what it said at any time after that.
///
/// A shadow table is one TLB for all processors. What one of them brought into it another may use,
/// as long as nothing has made that one forget: it could have looked itself, at any time, for its
/// own reasons (SDM volume 3A, "Caching Translation Information": speculative walks).
struct OverwrittenEntries: Sendable {
  private struct Old: Sendable {
    let word: UInt64
    let time: UInt64
  }

  /// When a processor was last made to forget.
  private struct Forgotten: Sendable {
    var everything: UInt64 = 0
    var spaces: UInt64 = 0
    var space: [UInt16: UInt64] = [:]
    /// By the number of a linear page, for whatever is there, and for what is global.
    var pages: [UInt64: UInt64] = [:]
    var globalPages: [UInt64: UInt64] = [:]
    /// By the number of a linear page and the PCID.
    var pagesOf: [UInt64: [UInt16: UInt64]] = [:]
  }

  /// By the host-virtual address of 8 bytes.
  private var words: [UInt64: [Old]] = [:]
  private var forgotten: [Forgotten]
  private var now: UInt64 = 1
  private var count = 0

  init(processors: Int) {
    forgotten = Array(repeating: Forgotten(), count: processors)
  }

  /// Whether nothing was ever stored.
  var isEmpty: Bool { words.isEmpty }

  /// Takes note of a word that is about to be overwritten.
  mutating func note(_ word: UInt64, at host: UInt64) {
    now += 1
    count += 1
    words[host, default: []].append(Old(word: word, time: now))
    if count > 1 << 16 { tidy() }
  }

  /// Throws away what every processor has forgotten.
  private mutating func tidy() {
    let oldest = forgotten.map(\.everything).min() ?? 0
    words = words.compactMapValues { kept in
      let alive = kept.filter { $0.time > oldest }
      return alive.isEmpty ? nil : alive
    }
    count = words.values.reduce(0) { $0 + $1.count }
  }

  /// Calls with every entry of 4 or 8 bytes that stood at a place since the processor was last made
  /// to forget the linear address; a global entry is not forgotten with a PCID.
  func forEach(
    at host: UInt64, byteCount: Int, _ linear: UInt64, _ processor: Int, _ mode: ReferenceMode,
    _ body: (UInt64) -> Void
  ) {
    guard let kept = words[host & ~7] else { return }
    let times = forgotten[processor]
    let page = linear >> 12
    let always = max(times.everything, times.pages[page] ?? 0)
    let mine = max(
      always, times.spaces, times.space[mode.pcid] ?? 0, times.pagesOf[page]?[mode.pcid] ?? 0)
    for old in kept where old.time > always {
      let half = old.word >> ((host & 4) * 8) & 0xFFFF_FFFF
      let entry = byteCount == 4 ? half : old.word
      let isGlobal = mode.hasGlobalPages && entry >> 8 & 1 == 1
      let since = isGlobal ? max(always, times.globalPages[page] ?? 0) : mine
      if old.time > since { body(entry) }
    }
  }

  /// Follows an invalidation.
  mutating func forget(_ what: Invalidation, _ mode: ReferenceMode, by processor: Int) {
    now += 1
    let page: (GuestVirtual) -> UInt64 = {
      (mode.is64Bit ? $0.raw : $0.raw & 0xFFFF_FFFF) >> 12
    }
    switch what {
    case .everything, .allRoots, .allLinear:
      forgotten[processor] = Forgotten()
      forgotten[processor].everything = now
    case .currentSpace: forgotten[processor].space[mode.pcid] = now
    case .space(let pcid): forgotten[processor].space[pcid] = now
    case .allSpaces: forgotten[processor].spaces = now
    case .linearAddress(let linear):
      // What is not global goes for the current PCID alone.
      forgotten[processor].globalPages[page(linear)] = now
      forgotten[processor].pagesOf[page(linear), default: [:]][mode.pcid] = now
    case .linearAddressIn(let pcid, let linear):
      forgotten[processor].pagesOf[page(linear), default: [:]][pcid] = now
    case .linearAddressOf(let identifier, let linear):
      if identifier == 0 { forgotten[processor].pages[page(linear)] = now }
    case .identifier(let identifier):
      guard identifier == 0 else { return }
      forgotten[processor] = Forgotten()
      forgotten[processor].everything = now
    case .identifierExceptGlobal(let identifier):
      if identifier == 0 { forgotten[processor].spaces = now }
    case .root, .allIdentifiers: break
    }
  }
}
