public import PagingUnits

/// Whoever maps the host process's pages elsewhere and must follow when they change (Linux:
/// `mmu_notifier_ops`).
///
/// Each change of a page goes begin → change → end: `invalidateRangeStart` returns when nothing of
/// the listener's refers to the range any more, and until `invalidateRangeEnd` it must make no new
/// use of pages it looked up before. Ranges are whole pages. The host calls with none of its locks
/// held, from whatever thread makes the change, and changes may overlap.
public protocol HostNotifier: ~Copyable {
  /// The pages of `range` are about to change (Linux: `invalidate_range_start`).
  func invalidateRangeStart(_ range: Range<HostVirtual>)
  /// The pages of `range` have changed (Linux: `invalidate_range_end`); called exactly once for
  /// each start.
  func invalidateRangeEnd(_ range: Range<HostVirtual>)
  /// Whether any page of `range` was used, forgetting it and flushing (Linux: `clear_flush_young`).
  func clearFlushYoung(_ range: Range<HostVirtual>) -> Bool
  /// Whether any page of `range` was used, forgetting it without a flush (Linux: `clear_young`).
  func clearYoung(_ range: Range<HostVirtual>) -> Bool
  /// Whether the page at `address` was used, forgetting nothing (Linux: `test_young`).
  func testYoung(_ address: HostVirtual) -> Bool
}

/// A listener that maps nothing: the host process on its own.
public struct Unnotified: HostNotifier {
  /// Nobody to tell.
  public init() {}
  /// Nothing is mapped.
  public func invalidateRangeStart(_ range: Range<HostVirtual>) {}
  /// Nothing is mapped.
  public func invalidateRangeEnd(_ range: Range<HostVirtual>) {}
  /// Nothing was used.
  public func clearFlushYoung(_ range: Range<HostVirtual>) -> Bool { false }
  /// Nothing was used.
  public func clearYoung(_ range: Range<HostVirtual>) -> Bool { false }
  /// Nothing was used.
  public func testYoung(_ address: HostVirtual) -> Bool { false }
}
