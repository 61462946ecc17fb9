import HostMemory
import PagingUnits
import SparseMemory
import Testing

/// Chance by seed (SplitMix64).
struct Chance: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

/// The buffers that a host lies over.
struct TestArena {
  let bytes: SparseBuffer
  let recordBytes: SparseBuffer
  let frameCount: UInt64

  init(frames: UInt64) throws {
    frameCount = frames
    bytes = try SparseBuffer(byteCount: frames * 4096)
    recordBytes = try SparseBuffer(byteCount: FrameRecords.byteCount(forFrames: frames))
  }

  var records: FrameRecords {
    // SAFETY: the buffer is zeroed, page-aligned and outlives the test's host.
    unsafe FrameRecords(base: recordBytes.unsafeBase, frameCount: frameCount)
  }
}

/// Runs `body` on a fresh host whose buffers outlive it.
func withHost<Result>(
  frames: UInt64, _ options: HostMemory.Options = .init(),
  _ body: (borrowing HostMemory) throws -> Result
) throws -> Result {
  let arena = try TestArena(frames: frames)
  defer { withExtendedLifetime(arena) {} }
  let host = HostMemory(memory: arena.bytes.memory, records: arena.records, options: options)
  return try body(host)
}

/// Runs `body` on a host with one process, and then checks that the process left nothing behind.
func withProcess(
  frames: UInt64 = 1 << 20, _ options: HostMemory.Options = .init(),
  leaving expected: (borrowing HostMemory) -> Bool = hasNoPages,
  _ body: (borrowing HostAddressSpace) throws -> Void
) throws {
  let isClean = try withHost(frames: frames, options) { host in
    do {
      let space = try HostAddressSpace(sharing: host)
      try body(space)
    }
    return expected(host)
  }
  if !isClean { throw Leak() }
}

struct Leak: Error {}

/// The value, or an error that fails the test; the macro of that kind cannot look into noncopyable
/// values.
func need<Value>(_ value: Value?, line: Int = #line) throws -> Value {
  guard let value else { throw Missing(line: line) }
  return value
}

struct Missing: Error { let line: Int }

func hasNoPages(_ host: borrowing HostMemory) -> Bool {
  host.frames(.anonymous) == 0 && host.frames(.file) == 0 && host.frames(.hostTable) == 0
    && host.frames(.table) == 0 && host.frames(.swapped) == 0
}

/// A listener that writes down what it is told, and can look while it is told.
final class Recorder: HostNotifier {
  enum Event: Equatable {
    case start(Range<HostVirtual>)
    case end(Range<HostVirtual>)
  }
  private(set) var events: [Event] = []
  private(set) var open: [Range<HostVirtual>] = []
  var onStart: (Range<HostVirtual>) -> Void = { _ in }
  var onEnd: (Range<HostVirtual>) -> Void = { _ in }
  var isYoung = false

  func invalidateRangeStart(_ range: Range<HostVirtual>) {
    events.append(.start(range))
    open.append(range)
    onStart(range)
  }
  func invalidateRangeEnd(_ range: Range<HostVirtual>) {
    onEnd(range)
    events.append(.end(range))
    guard let index = open.lastIndex(of: range) else {
      preconditionFailure("an end without a start")
    }
    open.remove(at: index)
  }
  func clearFlushYoung(_ range: Range<HostVirtual>) -> Bool { isYoung }
  func clearYoung(_ range: Range<HostVirtual>) -> Bool { isYoung }
  func testYoung(_ address: HostVirtual) -> Bool { isYoung }

  /// The starts only.
  var starts: [Range<HostVirtual>] {
    events.compactMap { if case .start(let range) = $0 { range } else { nil } }
  }
}

extension HostLookup {
  /// The page, when there is one.
  var page: HostPage? { if case .page(let page) = self { page } else { nil } }
}

extension HostAddressSpace {
  /// Writes one word through the process; what came of it.
  func poke(
    _ value: UInt64, at address: HostVirtual, telling recorder: Recorder = Recorder()
  ) -> HostCopyOutcome {
    // SAFETY: the bytes live for the call.
    unsafe withUnsafeBytes(of: value) { bytes in
      unsafe write(RawSpan(_unsafeBytes: bytes), to: address, telling: recorder)
    }
  }

  /// Reads one word through the process.
  func peek(_ address: HostVirtual, telling recorder: Recorder = Recorder()) -> UInt64? {
    var value: UInt64 = 0
    // SAFETY: the bytes live for the call.
    let outcome = unsafe withUnsafeMutableBytes(of: &value) { bytes in
      var span = unsafe MutableRawSpan(_unsafeBytes: bytes)
      return read(into: &span, from: address, telling: recorder)
    }
    return outcome == .complete ? value : nil
  }

  func anonymous(
    _ byteCount: UInt64, largest: Level = .page4K, at address: HostVirtual? = nil
  ) throws -> HostVirtual {
    try add(.init(byteCount: byteCount, backing: .anonymous(largestPage: largest), at: address))
  }
}

/// `#expect` for a condition about noncopyable values, into which the macro cannot look.
func check(
  _ condition: Bool, _ comment: Comment? = nil, at location: SourceLocation = #_sourceLocation
) {
  #expect(condition, comment, sourceLocation: location)
}
