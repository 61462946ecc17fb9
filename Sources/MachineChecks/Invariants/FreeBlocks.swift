import HostMemory
import PagingUnits
public import VirtualMachine

/// Every block on a free list has a record that says so, of the list's order, and leads back; two
/// free halves of one block are one block; and what the lists hold is what is counted as free.
///
/// The host allocates all the time, so that the lists are as long as what is in use is scattered.
public enum FreeBlocks {
  /// The rule as a sentence.
  public static let rule = "free lists and frame records agree"

  /// Walks the free lists; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    machine.process.host.withFreeBlocks { fault(in: $0) }.map { Violation(rule, found: $0) }
  }

  private static func fault(in buddy: borrowing BuddyAllocator) -> String? {
    var free = buddy.untouchedFrames.upperBound - buddy.untouchedFrames.lowerBound
    for exponent in 0...18 {
      let order = FrameOrder(exponent)
      var before: HostFrame?
      while let block = buddy.freeBlock(order, after: before) {
        free += order.frameCount
        if let fault = fault(of: block, order, behind: before, buddy)
          ?? (free > buddy.freeCount ? "is one too many on the free lists" : nil)
        {
          return "block \(hex(block.number)) of order \(exponent) \(fault)"
        }
        before = block
      }
    }
    return free == buddy.freeCount
      ? nil : "\(buddy.freeCount) frames are counted as free, the lists hold \(free)"
  }

  private static func fault(
    of block: HostFrame, _ order: FrameOrder, behind before: HostFrame?,
    _ buddy: borrowing BuddyAllocator
  ) -> String? {
    if block.number & (order.frameCount - 1) != 0 { return "is not aligned" }
    if buddy.records.kind(of: block) != .free || buddy.records.order(of: block) != order {
      return "is on a free list, its record says \(buddy.records.kind(of: block)) of order "
        + "\(buddy.records.order(of: block).exponent)"
    }
    if buddy.freeBlock(before: block) != before { return "does not lead back" }
    let half = HostFrame(block.number ^ order.frameCount)
    return order < .page1G && isFree(half, order, buddy) ? "and its other half are both free" : nil
  }

  private static func isFree(
    _ frame: HostFrame, _ order: FrameOrder, _ buddy: borrowing BuddyAllocator
  ) -> Bool {
    frame < buddy.untouchedFrames.lowerBound && buddy.records.kind(of: frame) == .free
      && buddy.records.order(of: frame) == order
  }
}
